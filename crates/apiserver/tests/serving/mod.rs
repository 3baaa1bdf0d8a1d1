//! A server of one plain resource, `widgets.example.org/v1`, asked without a network in between.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails where it panics")]
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use imagestream_api::validation::metadata::{Scope, before_update};
use imagestream_apiserver::admission::AdmitAll;
use imagestream_apiserver::api::Api;
use imagestream_apiserver::authn::UserInfo;
use imagestream_apiserver::dispatch::Dispatcher;
use imagestream_apiserver::endpoint::{Endpoint, Outcome, Pending, Reply, Request};
use imagestream_apiserver::form::Plain;
use imagestream_apiserver::kind::{Kind, Resource, Verb};
use imagestream_apiserver::request_info::RequestInfo;
use imagestream_apiserver::schema::{self, Schema};
use imagestream_apiserver::storage::{Keeping, Objects};
use imagestream_apiserver::stored::Stored;
use imagestream_apiserver::strategy::{Strategy, done};
use imagestream_store::sqlite::{SqliteOptions, SqliteStore};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

static WIDGET_SCHEMA: schema::Object = schema::Object::new(
    "org.example.v1",
    "Widget",
    "A widget.",
    &[
        schema::KIND,
        schema::API_VERSION,
        schema::METADATA,
        schema::field("size", 2, schema::INT64, "How large it is."),
        schema::field("parts", 3, Schema::List(&PARTS), "What it is made of."),
    ],
);

static PARTS: schema::List = schema::List::by_key(Schema::Object(&PART), "name");

static PART: schema::Object = schema::Object::new(
    "org.example.v1",
    "Part",
    "A part.",
    &[
        schema::field("name", 1, schema::TEXT, "Its name."),
        schema::field("count", 2, schema::INT64, "How many."),
    ],
);

static KIND: Kind = Kind {
    group: "example.org",
    version: "v1",
    kind: "Widget",
    schema: &WIDGET_SCHEMA,
    package: "example",
    description: "A widget.",
};

/// The resource of the server.
pub(crate) static WIDGETS: Resource = Resource {
    kind: &KIND,
    plural: "widgets",
    subresource: "",
    singular: "widget",
    list_kind: "WidgetList",
    short_names: &[],
    categories: &[],
    namespaced: true,
};

static WIDGET_LIST: schema::Object = schema::Object::new(
    "org.example.v1",
    "WidgetList",
    "Several widgets.",
    &[schema::KIND, schema::API_VERSION],
);

static LIST_KIND: Kind = Kind {
    kind: "WidgetList",
    schema: &WIDGET_LIST,
    description: "Several widgets.",
    ..KIND
};

/// A subresource that is a list: of what goes with a widget.
static FITTINGS: Resource = Resource {
    kind: &LIST_KIND,
    subresource: "fittings",
    singular: "",
    list_kind: "",
    ..WIDGETS
};

struct Fittings;

impl Endpoint for Fittings {
    fn resource(&self) -> &'static Resource {
        &FITTINGS
    }

    fn verbs(&self) -> &'static [Verb] {
        &[Verb::Get]
    }

    fn get<'a>(&'a self, _: &'a Request) -> Reply<'a> {
        let list = json!({"kind": "WidgetList", "apiVersion": "example.org/v1",
                          "metadata": {"resourceVersion": "7"},
                          "items": [{"metadata": {"name": "screw"}, "size": 1}]});
        Box::pin(std::future::ready(Ok(Outcome::ok(list))))
    }
}

struct Widgets;

impl Strategy for Widgets {
    fn prepare_create<'a>(&'a self, _: &'a Request, object: Value) -> Pending<'a, Value> {
        done(Ok(object))
    }

    fn prepare_update<'a>(&'a self, _: &'a Request, object: Value, stored: &'a Value) -> Pending<'a, Value> {
        let metadata = |object: &Value| serde_json::from_value(object["metadata"].clone()).unwrap();
        let errors = before_update(&metadata(&object), &metadata(stored), Scope::Namespaced);
        done(match &*errors {
            [] => Ok(object),
            errors => {
                let name = object["metadata"]["name"].as_str().unwrap();
                Err(KIND.invalid(name, errors).into())
            }
        })
    }
}

/// A server and the directory of its store.
pub(crate) struct Server {
    dispatcher: Arc<Dispatcher>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) store: SqliteStore,
    _directory: tempfile::TempDir,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) content_type: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    /// The names in a list.
    pub(crate) fn names(&self) -> Vec<String> {
        let list = self.json();
        let items = list["items"]
            .as_array()
            .unwrap_or_else(|| panic!("no list: {list}"));
        items
            .iter()
            .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::keeping(Keeping { on_disk: false }).await
    }

    pub(crate) async fn keeping(keeping: Keeping) -> Self {
        Self::remembering(keeping, 10_000).await
    }

    pub(crate) async fn remembering(keeping: Keeping, remembered: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path(), SqliteOptions::default())
            .await
            .unwrap();
        let objects = Arc::new(Objects::remembering(
            Arc::new(store.clone()),
            "/example.org/widgets/",
            Arc::new(Plain(&WIDGETS)),
            keeping,
            remembered,
        ));
        let endpoint = Stored::new(Arc::clone(&objects), Arc::new(Widgets));
        let dispatcher = Arc::new(Dispatcher {
            api: Api::new(vec![Arc::new(endpoint), Arc::new(Fittings)]),
            admission: Arc::new(AdmitAll),
        });
        Self {
            dispatcher,
            objects,
            store,
            _directory: directory,
        }
    }

    /// Sends a request and returns the answer with its body still coming.
    pub(crate) async fn open(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> http::Response<imagestream_apiserver::respond::ResponseBody> {
        let mut builder = http::Request::builder().method(method).uri(target);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let (head, ()) = builder.body(()).unwrap().into_parts();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let info = RequestInfo::new(method, head.uri.path(), &query);
        let deadline = Instant::now() + Duration::from_secs(30);
        let request = Request::new(info, UserInfo::default(), query, Timestamp::now(), deadline);
        let body = Bytes::copy_from_slice(body.as_bytes());
        self.dispatcher.dispatch(Arc::new(request), &head, body).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let response = self.open(method, target, headers, body).await;
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let code = response.status().as_u16();
        let content_type = header("content-type").unwrap_or_default();
        let warnings = response
            .headers()
            .get_all("warning")
            .iter()
            .map(|value| value.to_str().unwrap().to_owned())
            .collect();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer {
            code,
            content_type,
            warnings,
            text,
        }
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], "").await
    }

    /// Creates a widget in the namespace `n`.
    pub(crate) async fn create(&self, object: Value) -> Answer {
        let path = "/apis/example.org/v1/namespaces/n/widgets";
        self.send("POST", path, &[], &object.to_string()).await
    }

    pub(crate) async fn patch(&self, name: &str, kind: &str, patch: Value) -> Answer {
        let path = format!("/apis/example.org/v1/namespaces/n/widgets/{name}");
        let content_type = format!("application/{kind}+json");
        self.send(
            "PATCH",
            &path,
            &[("content-type", &content_type)],
            &patch.to_string(),
        )
        .await
    }
}
