//! Which endpoint and which verb a request is for; which paths exist follows from the verbs, as in Kubernetes.

use std::sync::Arc;

use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use crate::api::Api;
use crate::endpoint::Endpoint;
use crate::errors;
use crate::kind::Verb;
use crate::request_info::RequestInfo;

/// Verbs that a collection's path has.
const OF_COLLECTIONS: [Verb; 4] = [Verb::Create, Verb::DeleteCollection, Verb::List, Verb::Watch];
/// Verbs that an object's path has.
const OF_OBJECTS: [Verb; 4] = [Verb::Get, Verb::Update, Verb::Patch, Verb::Delete];

/// The endpoint of a request's path.
///
/// # Errors
/// 404 if there is no such path, 405 if the path only reads where the request would write.
pub(super) fn find<'a>(api: &'a Api, info: &RequestInfo) -> Result<&'a Arc<dyn Endpoint>, Box<Status>> {
    let unknown = || Box::new(errors::unknown_resource());
    let endpoint = api
        .find(&info.group, &info.version, &info.resource, &info.subresource)
        .ok_or_else(unknown)?;
    let resource = endpoint.resource();
    let is_named = is_named(info);
    let deepest = match (is_named, info.subresource.is_empty()) {
        (false, _) => 1,
        (true, true) => 2,
        (true, false) => 3,
    };
    if info.parts.len() > deepest {
        return Err(unknown());
    }
    let has = |verbs: &[Verb]| endpoint.verbs().iter().any(|verb| verbs.contains(verb));
    // A namespace is named by its own path, which looks as if it were in itself. In another one there are none: who
    // may do everything there may not touch others.
    let is_itself_one = info.group.is_empty() && info.resource == "namespaces";
    let itself = if is_named { info.name.as_str() } else { "" };
    if is_itself_one && info.namespace != itself {
        return Err(unknown());
    }
    if info.is_watch_path && !has(&[Verb::Watch]) {
        return Err(unknown());
    }
    let is_in_namespace = !info.namespace.is_empty() && !is_itself_one;
    let exists = if is_named {
        let creates_below = !info.subresource.is_empty() && has(&[Verb::Create]);
        resource.namespaced == is_in_namespace && (has(&OF_OBJECTS) || creates_below)
    } else if resource.namespaced && !is_in_namespace {
        has(&[Verb::List, Verb::Watch])
    } else {
        resource.namespaced == is_in_namespace && has(&OF_COLLECTIONS)
    };
    if !exists {
        return Err(unknown());
    }
    // Objects are not made or deleted in all namespaces at once.
    if resource.namespaced && !is_in_namespace && !matches!(info.verb.as_str(), "list" | "watch" | "get") {
        return Err(errors::method_not_allowed().into());
    }
    Ok(endpoint)
}

/// The verb of a request: the one that it was authorized for.
///
/// # Errors
/// 405 for a method that no path has, or not in the old form of a watch, which names it in the path.
pub(super) fn verb(info: &RequestInfo, method: &Method) -> Result<Verb, Box<Status>> {
    let is_named = is_named(info);
    let is_below = !info.subresource.is_empty();
    let verb = match (method.as_str(), is_named) {
        ("GET" | "HEAD", _) if info.verb == "watch" && !is_below => Verb::Watch,
        ("GET" | "HEAD", true) => Verb::Get,
        ("GET" | "HEAD", false) => Verb::List,
        ("POST", false) => Verb::Create,
        ("POST", true) if is_below => Verb::Create,
        ("PUT", true) => Verb::Update,
        ("PATCH", true) => Verb::Patch,
        ("DELETE", true) => Verb::Delete,
        ("DELETE", false) => Verb::DeleteCollection,
        _ => return Err(errors::method_not_allowed().into()),
    };
    if verb.as_str() != info.verb {
        return Err(errors::method_not_allowed().into());
    }
    Ok(verb)
}

/// The object that the path names.
pub(super) fn named(info: &RequestInfo) -> Option<&str> {
    is_named(info).then_some(info.name.as_str())
}

/// Whether the path names an object. A collection's request has a name too if its selector chooses by name.
fn is_named(info: &RequestInfo) -> bool {
    info.parts.len() > 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    /// The verb that a request is done with, or the code that it is refused with.
    fn done(method: &str, path: &str) -> Result<Verb, Option<i32>> {
        let api = samples::api_with_namespaces();
        let info = RequestInfo::new(method, path, "");
        let found = find(&api, &info).and_then(|_| verb(&info, &method.parse().unwrap()));
        if let Ok(verb) = found {
            assert_eq!(verb.as_str(), info.verb, "{method} {path}");
        }
        found.map_err(|status| status.code)
    }

    #[test]
    fn a_request_is_done_with_the_verb_that_it_is_authorized_for_or_not_at_all() {
        let widgets = "/apis/example.com/v1/namespaces/n/widgets";
        let watched = "/apis/example.com/v1/watch/namespaces/n/widgets";
        let proxied = "/apis/example.com/v1/proxy/namespaces/n/widgets";
        assert_eq!(done("GET", widgets), Ok(Verb::List));
        assert_eq!(done("GET", watched), Ok(Verb::Watch));
        assert_eq!(done("GET", &format!("{watched}/w")), Ok(Verb::Watch));
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get", "WATCH",
        ] {
            for rest in ["", "/w", "/w/status"] {
                let _ = done(method, &format!("{widgets}{rest}"));
                for old in [watched, proxied] {
                    let path = format!("{old}{rest}");
                    let reads = matches!(method, "GET" | "HEAD") && old == watched && rest != "/w/status";
                    assert_eq!(done(method, &path).is_ok(), reads, "{method} {path}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_watched_has_no_path_for_watches() {
        for (path, expected) in [
            ("/apis/example.com/v1/watch/namespaces/n/widgets", Ok(Verb::Watch)),
            ("/apis/example.com/v1/watch/namespaces/n/gears", Err(Some(404))),
            ("/apis/example.com/v1/watch/namespaces/n/gears/g", Err(Some(404))),
            ("/apis/example.com/v1/namespaces/n/gears", Ok(Verb::List)),
        ] {
            assert_eq!(done("GET", path), expected, "{path}");
        }
    }

    #[test]
    fn there_are_no_namespaces_in_a_namespace() {
        for (method, path, expected) in [
            ("GET", "/api/v1/namespaces", Ok(Verb::List)),
            ("POST", "/api/v1/namespaces", Ok(Verb::Create)),
            ("GET", "/api/v1/namespaces/n", Ok(Verb::Get)),
            ("PUT", "/api/v1/namespaces/n/finalize", Ok(Verb::Update)),
            ("GET", "/api/v1/namespaces/n/namespaces", Err(Some(404))),
            ("POST", "/api/v1/namespaces/n/namespaces", Err(Some(404))),
            ("DELETE", "/api/v1/namespaces/n/namespaces", Err(Some(404))),
            ("GET", "/api/v1/namespaces/n/namespaces/other", Err(Some(404))),
            ("DELETE", "/api/v1/namespaces/n/namespaces/other", Err(Some(404))),
            (
                "PUT",
                "/api/v1/namespaces/n/namespaces/other/finalize",
                Err(Some(404)),
            ),
        ] {
            assert_eq!(done(method, path), expected, "{method} {path}");
        }
    }
}
