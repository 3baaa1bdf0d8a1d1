//! Clients that may not, lie, send rubbish, or never finish: they learn nothing, and nobody else suffers.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should say where"
)]

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use http::{Method, header};
use imagestream_testkit::auth::Auth;
use imagestream_testkit::content::Content;
use imagestream_testkit::registry::TestRegistry;
use imagestream_testkit::samples;
use imagestream_tests::client::{Answer, Client, Connector, imports, streams};
use imagestream_tests::server::{ADMIN, DEV, NOBODY, Server, VIEWER};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

/// Longer than anything takes, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server with namespaces `team`, where `dev` may edit and `viewer` may look, and `other`, where neither may anything.
async fn started() -> (Server, Client) {
    let server = Server::start();
    let admin = Client::new(&server, ADMIN);
    admin.create_namespace("team").await;
    admin.create_namespace("other").await;
    (server, admin)
}

fn stream(name: &str) -> Value {
    json!({"apiVersion": "image.openshift.io/v1", "kind": "ImageStream", "metadata": {"name": name}})
}

fn import(name: &str, references: &[String]) -> Value {
    let images: Vec<Value> = references
        .iter()
        .map(|reference| json!({"from": {"kind": "DockerImage", "name": reference}, "importPolicy": {"insecure": true}}))
        .collect();
    json!({
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStreamImport",
        "metadata": {"name": name},
        "spec": {"import": true, "images": images},
    })
}

fn pull_secret(host: &str) -> Value {
    let auths = json!({"auths": {host: {"username": "reader", "password": "s3cret"}}}).to_string();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "pull"},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": auths},
    })
}

fn reason(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.json["reason"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn users_without_a_role_may_do_nothing_and_learn_nothing() {
    let (server, admin) = started().await;
    let _ = admin.post(&streams("other"), &stream("existing")).await.ok();
    for token in [NOBODY, VIEWER, DEV] {
        let user = Client::new(&server, token);
        for (method, body) in [
            (Method::GET, Value::Null),
            (Method::DELETE, Value::Null),
            (Method::PUT, stream("existing")),
        ] {
            let ask = async |name: &str| {
                let path = format!("{}/{name}", streams("other"));
                let answer = user.send(method.clone(), &path, &body).await;
                assert_eq!(reason(&answer), (403, "Forbidden"), "{token} {method} {name}");
                answer.text.replace(name, "NAME")
            };
            assert_eq!(ask("existing").await, ask("missing").await, "{token} {method}");
        }
        let list = user.get(&streams("other")).await;
        assert_eq!(reason(&list), (403, "Forbidden"), "{token}");
        let watch = user.get(&format!("{}?watch=true", streams("other"))).await;
        assert_eq!(reason(&watch), (403, "Forbidden"), "{token}");
        // Nor whether there is such a namespace.
        let absent = user.get(&streams("absent")).await;
        assert_eq!(
            list.text.replace("other", "NS"),
            absent.text.replace("absent", "NS")
        );
        let created = user.post(&imports("other"), &import("existing", &[])).await;
        assert_eq!(reason(&created), (403, "Forbidden"), "{token}");
    }
    let kept = admin.get(&format!("{}/existing", streams("other"))).await;
    assert_eq!(kept.status, 200);
}

#[tokio::test]
async fn strangers_are_turned_away_whatever_they_ask_for() {
    let (server, _) = started().await;
    let wrong = Client::new(&server, "admin-tokem");
    for path in [&streams("team"), "/api/v1/secrets", "/no/such/path", "/metrics"] {
        let answer = wrong.get(path).await;
        assert_eq!(reason(&answer), (401, "Unauthorized"), "{path}");
    }
    let anonymous = Client::new(&server, None);
    for path in [&streams("team"), "/api/v1/secrets", "/metrics"] {
        let answer = anonymous.get(path).await;
        assert!(matches!(answer.status, 401 | 403), "{path}: {answer:?}");
    }
    let post = wrong.post(&streams("team"), &stream("app")).await;
    assert_eq!(post.status, 401);
}

/// A client certificate of `system:masters` that ends this many seconds from now, by the given authority.
fn certificate(authority: &Issuer<'_, KeyPair>, seconds: i64) -> (String, String) {
    let now = {
        #[allow(clippy::disallowed_methods, reason = "the server compares with the real time")]
        std::time::SystemTime::now()
    };
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "system:masters");
    params.distinguished_name.push(DnType::CommonName, "mallory");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let moment =
        |second: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(second).unwrap());
    let end = i64::try_from(now.as_secs()).unwrap() + seconds;
    params.not_before = moment(end - 86_400);
    params.not_after = moment(end);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[tokio::test]
async fn certificates_that_ended_or_are_of_another_authority_open_nothing() {
    let (server, _) = started().await;
    let key = std::fs::read_to_string(server.place().path("data/pki/ca.key")).unwrap();
    let own = Issuer::from_ca_cert_pem(&server.ca_pem(), KeyPair::from_pem(&key).unwrap()).unwrap();
    let other = {
        // The same name, another key.
        let key = KeyPair::generate().unwrap();
        Issuer::from_ca_cert_pem(&server.ca_pem(), key).unwrap()
    };
    let answer = async |authority: &Issuer<'_, KeyPair>, seconds: i64| {
        let (certificate, key) = certificate(authority, seconds);
        let client = Client::with_certificate(&server, &certificate, &key);
        client.try_send(Method::GET, &streams("team"), &Value::Null).await
    };
    assert_eq!(answer(&own, 3600).await.unwrap().status, 200);
    for (what, refused) in [
        ("ended", answer(&own, -3600).await),
        ("another authority's", answer(&other, 3600).await),
    ] {
        // In the handshake or with an answer, but refused.
        if let Ok(answer) = refused {
            assert_eq!(answer.status, 401, "{what}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_namespace_s_secrets_are_neither_read_nor_used_by_others() {
    let content = Content::new().image("team/app", "v1", samples::hello("1.0"));
    let registry = TestRegistry::start(content);
    registry.set_auth(Auth::basic("reader", "s3cret"));
    let (server, admin) = started().await;
    let secrets = |namespace: &str| format!("/api/v1/namespaces/{namespace}/secrets");
    let _ = admin
        .post(&secrets("other"), &pull_secret(&registry.host()))
        .await
        .ok();
    let reference = [format!("{}/team/app:v1", registry.host())];
    let dev = Client::new(&server, DEV);
    for path in [
        secrets("other"),
        format!("{}/pull", secrets("other")),
        "/api/v1/secrets".into(),
    ] {
        let answer = dev.get(&path).await;
        assert_eq!(reason(&answer), (403, "Forbidden"), "{path}");
        assert!(!answer.text.contains("s3cret"));
    }
    let imported = dev.post(&imports("team"), &import("app", &reference)).await.ok();
    assert_eq!(
        imported["status"]["images"][0]["status"]["reason"], "Unauthorized",
        "{imported}"
    );
    let sent = registry.requests();
    assert!(
        !sent.is_empty() && sent.iter().all(|request| request.authorization.is_none()),
        "{sent:?}"
    );

    // With a secret of their own they get in, and the credentials go nowhere but to the registry.
    let _ = dev
        .post(&secrets("team"), &pull_secret(&registry.host()))
        .await
        .ok();
    let imported = dev.post(&imports("team"), &import("app", &reference)).await;
    assert!(!imported.text.contains("s3cret"));
    let imported = imported.ok();
    assert_eq!(
        imported["status"]["images"][0]["status"]["status"], "Success",
        "{imported}"
    );
    assert!(!server.place().log().contains("s3cret"));
    for file in std::fs::read_dir(server.place().path("data")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(
                !bytes.windows(6).any(|six| six == b"s3cret"),
                "{}",
                path.display()
            );
        }
    }
}

#[tokio::test]
async fn bodies_that_are_too_large_too_deep_or_no_text_are_refused() {
    let (server, admin) = started().await;
    let post = async |path: &str, content_type: &str, body: Vec<u8>| {
        let request = admin
            .request(Method::POST, path)
            .header(header::CONTENT_TYPE, content_type)
            .body(body);
        Client::answer(request).await.unwrap()
    };
    let path = streams("team");
    let padded = |bytes: usize| {
        let mut stream = stream("padded");
        stream["metadata"]["annotations"] = json!({"example.com/x": "x".repeat(bytes)});
        stream.to_string().into_bytes()
    };
    let large = post(&path, "application/json", padded(10 << 20)).await;
    assert_eq!(reason(&large), (413, "RequestEntityTooLarge"), "{large:?}");
    let large = post(&path, "application/yaml", padded(10 << 20)).await;
    assert_eq!(large.status, 413, "{large:?}");

    let nested = |open: &str, close: &str, depth: usize| {
        let value = format!("{}{}", open.repeat(depth), close.repeat(depth));
        format!(
            r#"{{"apiVersion":"image.openshift.io/v1","kind":"ImageStream","metadata":{{"name":"deep"}},"spec":{value}}}"#
        )
    };
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        for depth in [1_000, 100_000] {
            let open_only = nested(open, "", depth);
            for body in [nested(open, close, depth), open_only] {
                let answer = post(&path, "application/json", body.into_bytes()).await;
                assert_eq!(answer.status, 400, "{open} {depth}: {answer:?}");
            }
        }
    }
    let aliases: String = (1..30)
        .map(|at| format!("a{at}: &a{at} [{}]\n", vec![format!("*a{}", at - 1); 9].join(",")))
        .collect();
    let bomb = format!("apiVersion: image.openshift.io/v1\nkind: ImageStream\na0: &a0 [x]\n{aliases}");
    let answer = post(&path, "application/yaml", bomb.into_bytes()).await;
    assert_eq!(answer.status, 400, "{answer:?}");

    let mut text = stream("text").to_string().into_bytes();
    let at = text.windows(4).position(|four| four == b"text").unwrap();
    text[at] = 0xff;
    let answer = post(&path, "application/json", text).await;
    assert!(matches!(answer.status, 400 | 422), "{answer:?}");
    for rubbish in [
        &b""[..],
        b"null",
        b"[]",
        b"42",
        b"\0\0\0\0",
        b"{\"apiVersion\":",
        b"k8s\0\xff\xff\xff\xff",
    ] {
        for content_type in [
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
        ] {
            let answer = post(&path, content_type, rubbish.to_vec()).await;
            assert!(
                (400..500).contains(&answer.status),
                "{content_type} {rubbish:?}: {answer:?}"
            );
        }
    }
    let list = admin.get(&path).await.ok();
    assert_eq!(list["items"], json!([]), "nothing of it was stored");
    assert!(
        server.resident_bytes() < 200 << 20,
        "{} bytes",
        server.resident_bytes()
    );
}

/// The first line of the answer to these bytes; empty if the server ends the connection without any.
async fn first_line(connector: &Connector, request: &[u8]) -> String {
    let mut stream = connector.connect().await.unwrap();
    // The server may stop reading before it has seen everything.
    let _ = stream.write_all(request).await;
    let _ = stream.flush().await;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    let read = async {
        while !answer.contains(&b'\n') {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(read) => answer.extend_from_slice(&buffer[..read]),
            }
        }
    };
    timeout(Duration::from_secs(60), read)
        .await
        .expect("an answer or the end");
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    String::from_utf8_lossy(line).into_owned()
}

#[tokio::test]
async fn malformed_http_is_refused_and_the_next_client_is_served() {
    let (server, admin) = started().await;
    let connector = Connector::new(&server);
    let path = streams("team");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\nContent-Type: application/json\r\n"
    );
    let many: String = (0..10_000).map(|at| format!("X-{at}: {at}\r\n")).collect();
    let refused: &[(&str, Vec<u8>)] = &[
        (
            "a chunk without size",
            format!("{head}Transfer-Encoding: chunked\r\n\r\nxyz\r\n{{}}\r\n0\r\n\r\n").into(),
        ),
        (
            "a chunk of 2^64 bytes",
            format!("{head}Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n{{}}\r\n").into(),
        ),
        (
            "two lengths",
            format!("{head}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}").into(),
        ),
        (
            "no length",
            format!("{head}Content-Length: -1\r\n\r\n{{}}").into(),
        ),
        ("10,000 headers", format!("{head}{many}\r\n").into()),
        (
            "a header of 1 MB",
            format!("{head}X-Long: {}\r\n\r\n", "x".repeat(1 << 20)).into(),
        ),
        (
            "a path of 1 MB",
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(1 << 20)).into(),
        ),
        (
            "no HTTP",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
        ),
        ("a header without name", b"GET / HTTP/1.1\r\n: x\r\n\r\n".to_vec()),
    ];
    for (what, request) in refused {
        let line = first_line(&connector, request).await;
        assert!(
            line.is_empty() || line.starts_with("HTTP/1.1 4"),
            "{what}: {line}"
        );
    }
    // Not a path that leads elsewhere.
    for escape in [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/apis/image.openshift.io/v1/namespaces/..%2f..%2fother/imagestreams",
    ] {
        let request = format!(
            "GET {escape} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {DEV}\r\nConnection: close\r\n\r\n"
        );
        let line = first_line(&connector, request.as_bytes()).await;
        assert!(line.starts_with("HTTP/1.1 4"), "{escape}: {line}");
    }
    assert_eq!(admin.get(&path).await.ok()["items"], json!([]));
}

#[tokio::test]
async fn clients_that_never_finish_are_cut_off_while_others_are_served() {
    let (server, admin) = started().await;
    let connector = Connector::new(&server);
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n",
        streams("team")
    );
    let mut slow = JoinSet::new();
    for at in 0..100 {
        let connector = connector.clone();
        // Half of them never end the head, the others never end the body.
        let (at_once, then) = if at % 2 == 0 {
            ("GET / HTTP/1.1\r\n", "X-Slow: x\r\n")
        } else {
            (&*head, " ")
        };
        let at_once = at_once.to_owned();
        slow.spawn(async move {
            let mut stream = connector.connect().await.unwrap();
            stream.write_all(at_once.as_bytes()).await.unwrap();
            let (mut reading, mut writing) = tokio::io::split(stream);
            let trickle = async {
                while writing.write_all(then.as_bytes()).await.is_ok() && writing.flush().await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
            };
            let read = async {
                let mut buffer = [0; 4096];
                while matches!(reading.read(&mut buffer).await, Ok(read) if read > 0) {}
            };
            tokio::select! {
                () = trickle => {}
                () = read => {}
            }
        });
    }
    let begun = Instant::now();
    for at in 0..20 {
        let created = admin.post(&streams("team"), &stream(&format!("app-{at}"))).await;
        assert_eq!(created.status, 201);
    }
    // Less than the server waits for slow clients: nobody waited for one of them.
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    let ended = timeout(3 * PATIENCE, async { while slow.join_next().await.is_some() {} }).await;
    assert!(ended.is_ok(), "{} of 100 are still connected", slow.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_idle_connections_cost_little_and_disturb_nobody() {
    const CONNECTIONS: usize = 5_000;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // The server inherits the limit.
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    if most < (CONNECTIONS as u64) + 1_000 {
        println!("skipped: at most {most} files may be open");
        return;
    }
    let (server, admin) = started().await;
    let connector = Connector::new(&server);
    let before = server.resident_bytes();
    // Each has asked for something once, as the connections of clients that stay have.
    let mut held: Vec<_> = futures::stream::iter((0..CONNECTIONS).map(|_| ask_once(&connector)))
        .buffer_unordered(64)
        .collect()
        .await;
    let mut slowest = Duration::ZERO;
    for at in 0..20 {
        let begun = Instant::now();
        let created = admin.post(&streams("team"), &stream(&format!("app-{at}"))).await;
        assert_eq!(created.status, 201);
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_secs(20), "{slowest:?}");
    let each = server.resident_bytes().saturating_sub(before) / CONNECTIONS as u64;
    println!("{each} bytes a connection, slowest answer {slowest:?}");
    assert!(each < 64 << 10, "{each} bytes a connection");
    // They can still be used.
    for stream in [held.pop().unwrap(), held.swap_remove(0)] {
        let _ = ask(stream).await;
    }
}

/// A connection on which one request was answered.
async fn ask_once(connector: &Connector) -> TlsStream<TcpStream> {
    ask(connector.connect().await.unwrap()).await
}

async fn ask(mut stream: TlsStream<TcpStream>) -> TlsStream<TcpStream> {
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    stream.flush().await.unwrap();
    let mut answer = [0; 4096];
    let mut read = 0;
    // The whole answer: its head, and `ok`.
    while !answer[..read].ends_with(b"\r\n\r\nok") {
        let more = stream.read(&mut answer[read..]).await.unwrap();
        assert!(more > 0, "{}", String::from_utf8_lossy(&answer[..read]));
        read += more;
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    stream
}

#[tokio::test]
async fn an_import_ends_with_the_client_who_asked_for_it() {
    let content = Content::new().tags("team/many", 400);
    let registry = TestRegistry::start(content);
    let (server, admin) = started().await;
    registry.set_latency(Duration::from_millis(300));
    let body = json!({
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStreamImport",
        "metadata": {"name": "many"},
        "spec": {"import": true, "repository": {
            "from": {"kind": "DockerImage", "name": format!("{}/team/many", registry.host())},
            "importPolicy": {"insecure": true},
        }},
    });
    let references: Vec<String> = (0..400)
        .map(|at| {
            format!(
                "{}/team/many:{}",
                registry.host(),
                imagestream_testkit::content::version_tag(at)
            )
        })
        .collect();
    for body in [body, import("many", &references)] {
        registry.clear_requests();
        let asking = {
            let admin = admin.clone();
            tokio::spawn(async move { admin.try_send(Method::POST, &imports("team"), &body).await })
        };
        while registry.request_count() < 10 {
            sleep(Duration::from_millis(5)).await;
        }
        asking.abort();
        // Requests that are under way end; then there are no more.
        let begun = Instant::now();
        let after = loop {
            let after = registry.request_count();
            sleep(Duration::from_secs(1)).await;
            if registry.in_flight() == 0 && registry.request_count() == after {
                break after;
            }
            assert!(begun.elapsed() < PATIENCE, "{after} requests, and more");
        };
        assert!(after < 400, "{after} requests");
        let stored = admin.get(&format!("{}/many", streams("team"))).await;
        assert_eq!(stored.status, 404, "{stored:?}");
    }
    assert!(server.resident_bytes() > 0);
}
