use super::*;

#[test]
fn no_path_leads_to_another_host() {
    let base = Url::parse("https://r.test:5000/v2/").expect("URL");
    for path in [
        "/v2/a/tags/list?n=2&last=x",
        "//evil.test/v2/",
        "/\\evil.test/",
        "http://evil.test/",
        "@evil.test",
    ] {
        assert_eq!(url_of(&base, path).origin(), base.origin(), "{path}");
    }
    assert_eq!(
        url_of(&base, "/v2/a/b?c=%2F").as_str(),
        "https://r.test:5000/v2/a/b?c=%2F"
    );
}
