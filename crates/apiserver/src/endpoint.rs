//! How a resource plugs into the server: one [`Endpoint`] for each resource and subresource, which implements the
//! verbs that it has, and what requests to it carry and what it answers.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use crate::admission::Creation;
use crate::authn::UserInfo;
use crate::errors;
use crate::kind::{Column, Resource, Verb};
use crate::options::{DeleteOptions, ListOptions, WriteOptions};
use crate::request_info::RequestInfo;
use crate::storage::Encoded;

/// What every verb answers.
pub type Reply<'a> = BoxFuture<'a, Result<Outcome, Box<Status>>>;

/// An answer that is still being worked out and may fail with a status.
pub type Pending<'a, T> = BoxFuture<'a, Result<T, Box<Status>>>;

/// A request that was authenticated and authorized, without its body.
pub struct Request {
    /// What it is about.
    pub info: RequestInfo,
    /// Who asks; after impersonation.
    pub user: UserInfo,
    /// The query, as it was sent.
    pub query: String,
    /// What the client calls itself; may be empty.
    pub user_agent: String,
    /// When it came in: the one time of everything that it records.
    pub now: Timestamp,
    /// When it must be answered.
    pub deadline: Instant,
    warnings: Mutex<Vec<String>>,
}

impl Request {
    /// A request without warnings.
    #[must_use]
    pub fn new(info: RequestInfo, user: UserInfo, query: String, now: Timestamp, deadline: Instant) -> Self {
        Self {
            info,
            user,
            query,
            user_agent: String::new(),
            now,
            deadline,
            warnings: Mutex::default(),
        }
    }

    /// Tells the client something that it should know, in a `Warning` header.
    pub fn warn(&self, warning: impl Into<String>) {
        self.lock().push(warning.into());
    }

    /// Everything that the client is to be told, in order.
    pub fn warnings(&self) -> Vec<String> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        // A push cannot leave the list half-changed.
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A PUT or a PATCH: makes the new object from the one that is there.
///
/// It may be asked again with a fresher object after a conflict, so it must not remember anything.
pub trait Change: Send + Sync {
    /// The object that the client wants, defaulted, with `kind` and `apiVersion`, not yet validated.
    ///
    /// `current` is the object as the endpoint shows it, complete; nothing if it does not exist. A patch of nothing
    /// is 404; an update or an apply makes a new object of it.
    ///
    /// # Errors
    /// What is wrong with the client's object or patch.
    fn wanted(&self, current: Option<&Value>) -> Result<Value, Box<Status>>;

    /// What an object that does not exist is made by. [`Creation::admit`] is asked once, with the object, before it is
    /// made: the request was only found to be allowed to change one.
    fn creation(&self) -> Creation<'_>;

    /// Whether a conflict means that the client must look again, because it named the state that it changes.
    ///
    /// Asked with the object that [`Change::wanted`] made: a patch without a resource version is repeated.
    fn is_repeatable(&self) -> bool;

    /// Whether an object that does not exist may be created by it (PUT and apply of resources that allow it).
    fn may_create(&self) -> bool {
        true
    }

    /// Whether a uid in the wanted object says which object it is for, so that another one is a conflict. Of a patch it
    /// is a field like others, and one that can't be changed.
    fn is_for_uid(&self) -> bool {
        false
    }

    /// Whether an object that does not exist is created by it even where a PUT creates none: an apply.
    fn creates_always(&self) -> bool {
        false
    }
}

/// A resource or subresource.
///
/// The verbs that [`Endpoint::verbs`] names must be implemented; others are answered with 405 before an endpoint is
/// asked. Objects come in decoded and defaulted by [`Endpoint::normalise`], with `kind` and `apiVersion`, and go out
/// complete.
pub trait Endpoint: Send + Sync + 'static {
    /// What it is.
    fn resource(&self) -> &'static Resource;

    /// What can be done with it, sorted.
    fn verbs(&self) -> &'static [Verb];

    /// An object as clients send it in the one form that is used from then on: with defaults, as its type writes it.
    ///
    /// # Errors
    /// Why it is no object of the kind, worded as a decoder would.
    fn normalise(&self, object: Value) -> Result<Value, String> {
        Ok(object)
    }

    /// What an object of the kind looks like in which nothing is set. Fields of new objects that are like this are
    /// nobody's.
    fn empty(&self) -> Value {
        serde_json::json!({"metadata": {}})
    }

    /// GET of one object.
    fn get<'a>(&'a self, request: &'a Request) -> Reply<'a> {
        not_allowed(request)
    }

    /// GET of the collection.
    fn list<'a>(&'a self, request: &'a Request, _options: ListOptions) -> Reply<'a> {
        not_allowed(request)
    }

    /// GET of the collection with `watch=true`.
    fn watch<'a>(&'a self, request: &'a Request, _options: ListOptions) -> Reply<'a> {
        not_allowed(request)
    }

    /// POST. Of a subresource, `request.info.name` names the object.
    ///
    /// What stores an object asks [`Creation::admit_valid`] between validating it and storing it.
    fn create<'a>(
        &'a self,
        request: &'a Request,
        _object: Value,
        _options: WriteOptions,
        _creation: Creation<'a>,
    ) -> Reply<'a> {
        not_allowed(request)
    }

    /// PUT or PATCH.
    fn update<'a>(
        &'a self,
        request: &'a Request,
        _change: Arc<dyn Change>,
        _options: WriteOptions,
    ) -> Reply<'a> {
        not_allowed(request)
    }

    /// DELETE of one object.
    fn delete<'a>(&'a self, request: &'a Request, _options: DeleteOptions) -> Reply<'a> {
        not_allowed(request)
    }

    /// DELETE of the collection.
    fn delete_collection<'a>(
        &'a self,
        request: &'a Request,
        _which: ListOptions,
        _options: DeleteOptions,
    ) -> Reply<'a> {
        not_allowed(request)
    }

    /// The columns of its table; `None` for the default table of name and age.
    fn columns(&self) -> Option<&'static [Column]> {
        None
    }

    /// The cells of an object's row, one for each column. Only called if there are columns.
    fn cells(&self, _object: &Value, _now: Timestamp) -> Vec<Value> {
        Vec::new()
    }

    /// Whether its objects are namespaces by another name. Who may do what to one is then decided by the roles in it.
    fn names_namespaces(&self) -> bool {
        false
    }

    /// Whether an answer may take as long as it takes (the general request timeout does not count).
    fn is_long_running(&self) -> bool {
        false
    }
}

fn not_allowed(_: &Request) -> Reply<'_> {
    Box::pin(std::future::ready(Err(errors::method_not_allowed().into())))
}

/// What an endpoint answers.
pub enum Outcome {
    /// An object, with the HTTP status.
    Object {
        /// 200, 201 or 202.
        code: u16,
        /// The object.
        object: Object,
    },
    /// A list.
    List(ObjectList),
    /// Changes, until the client or the server ends it.
    Watch(WatchEvents),
    /// A status that is no error.
    Status(Box<Status>),
}

impl Outcome {
    /// 200 with an object.
    #[must_use]
    pub fn ok(object: impl Into<Object>) -> Self {
        Self::Object {
            code: 200,
            object: object.into(),
        }
    }

    /// 201 with an object.
    #[must_use]
    pub fn created(object: impl Into<Object>) -> Self {
        Self::Object {
            code: 201,
            object: object.into(),
        }
    }

    /// 200 with a bare `Success`.
    #[must_use]
    pub fn success() -> Self {
        Self::Status(errors::success(None).into())
    }
}

impl fmt::Debug for Outcome {
    /// Shows what it is, not what is in it: that may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object { code, .. } => write!(f, "Object({code})"),
            Self::List(list) => write!(f, "List({})", list.items.len()),
            Self::Watch(_) => f.write_str("Watch"),
            Self::Status(status) => write!(f, "Status({:?})", status.code),
        }
    }
}

/// An object on its way to a client.
#[derive(Clone)]
pub enum Object {
    /// Complete, with `kind`, `apiVersion` and resource version.
    Value(Value),
    /// As it is stored: only its beginning has to be written anew.
    Encoded(Encoded),
}

impl Object {
    /// The object as a value.
    ///
    /// # Errors
    /// 500 if what is stored is not JSON.
    pub fn into_value(self) -> Result<Value, Box<Status>> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Encoded(encoded) => encoded.to_value(),
        }
    }

    /// The object as its type.
    ///
    /// # Errors
    /// 500 if it is not JSON of that type.
    pub fn decode<T: DeserializeOwned>(self) -> Result<T, Box<Status>> {
        match self {
            Self::Value(value) => {
                serde_json::from_value(value).map_err(|error| errors::internal_error(error).into())
            }
            Self::Encoded(encoded) => encoded.decode(),
        }
    }

    /// Whether a text may stand anywhere in it: a quick way to tell that it does not have a field.
    #[must_use]
    pub fn may_mention(&self, needle: &str) -> bool {
        match self {
            Self::Value(_) => true,
            Self::Encoded(encoded) => encoded.mentions(needle),
        }
    }
}

impl From<Value> for Object {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl From<Encoded> for Object {
    fn from(encoded: Encoded) -> Self {
        Self::Encoded(encoded)
    }
}

/// A list on its way to a client.
#[derive(Default)]
pub struct ObjectList {
    /// The objects. In the answer they are without `kind` and `apiVersion`; here they may have both.
    pub items: Vec<Object>,
    /// The state that it shows; `None` for computed lists, which have none.
    pub revision: Option<u64>,
    /// Where the next page begins; empty if this is the last.
    pub continue_token: String,
    /// How many objects follow, if that is known.
    pub remaining: Option<i64>,
}

/// The stream of a watch.
pub type WatchEvents = BoxStream<'static, WatchEvent>;

/// One event of a watch.
pub enum WatchEvent {
    /// An object appeared among those watched.
    Added(Object),
    /// It changed.
    Modified(Object),
    /// It disappeared; its last state, at the revision of its deletion.
    Deleted(Object),
    /// Everything up to the resource version of this otherwise empty object was sent.
    Bookmark(Value),
    /// The watch ends with an error.
    Error(Box<Status>),
}
