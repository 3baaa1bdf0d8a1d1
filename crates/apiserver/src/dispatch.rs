//! From an authorized request and its body to the answer of the endpoint that it is for.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, WARNING};
use http::request::Parts;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::Value;

use crate::admission::{Admission, Creation};
use crate::api::Api;
use crate::decode::{self, DecodeError, LEGACY_SCHEME, Target};
use crate::endpoint::{Change, Endpoint, Outcome, Request};
use crate::errors;
use crate::kind::Verb;
use crate::metadata;
use crate::negotiation::{
    Accepted, BodyFormat, Encoding, LIST_MEDIA_TYPES, MEDIA_TYPES, PatchType, Shape, WITHOUT_PROTOBUF,
    body_format, negotiate, patch_type,
};
use crate::options::{DeleteOptions, ListOptions, Write, WriteOptions};
use crate::paths::PathRequest;
use crate::protobuf;
use crate::request_info::RequestInfo;
use crate::respond::{self, ResponseBody};

mod apply;
mod change;
mod route;

use apply::Applied;
use change::{Patched, Put};

/// Sends requests to endpoints.
pub struct Dispatcher {
    /// The endpoints.
    pub api: Api,
    /// Asked before every write.
    pub admission: Arc<dyn Admission>,
}

/// An answer, or the status that is answered instead.
type Answer = Result<http::Response<ResponseBody>, Box<Status>>;

impl Dispatcher {
    /// Answers a request. Errors are answers too: each has its status.
    pub async fn dispatch(
        &self,
        request: Arc<Request>,
        head: &Parts,
        body: Bytes,
    ) -> http::Response<ResponseBody> {
        let answer = if request.info.is_resource {
            self.resource(&request, head, &body).await
        } else if let Some(endpoint) = self.api.find_path(&request.info.path) {
            let request = PathRequest {
                request: Arc::clone(&request),
                method: head.method.clone(),
                headers: head.headers.clone(),
                body,
            };
            endpoint.answer(request).await.map(respond::path)
        } else {
            self.path(head)
        };
        let mut response = answer.unwrap_or_else(|status| respond::status(&status, head));
        for warning in decode::warning_headers(&request.warnings()) {
            // The text was checked to hold nothing that a header can't.
            if let Ok(value) = HeaderValue::from_bytes(warning.as_bytes()) {
                response.headers_mut().append(WARNING, value);
            }
        }
        response
    }

    /// Whether the request may take longer than others.
    #[must_use]
    pub fn is_long_running(&self, request: &Request) -> bool {
        request.info.verb == "watch"
            || (!request.info.is_resource
                && self
                    .api
                    .find_path(&request.info.path)
                    .is_some_and(|endpoint| endpoint.is_long_running()))
            || route::find(&self.api, &request.info).is_ok_and(|endpoint| endpoint.is_long_running())
    }

    /// The namespace whose roles decide about a request; empty if only those of the cluster do.
    #[must_use]
    pub fn scope<'a>(&self, info: &'a RequestInfo) -> &'a str {
        let names_namespaces = info.namespace.is_empty()
            && self
                .api
                .find(&info.group, &info.version, &info.resource, &info.subresource)
                .is_some_and(|endpoint| endpoint.names_namespaces());
        if names_namespaces {
            &info.name
        } else {
            &info.namespace
        }
    }

    /// What is no resource: what there is, and how it looks.
    fn path(&self, head: &Parts) -> Answer {
        let path = head.uri.path();
        if let Some(answer) = crate::openapi::answer(&self.api, head) {
            return answer;
        }
        let Some(document) = crate::discovery::answer(&self.api, path, &Accepted::JSON) else {
            return Ok(respond::not_a_path());
        };
        if head.method != http::Method::GET && head.method != http::Method::HEAD {
            return Err(errors::method_not_allowed().into());
        }
        let aggregates = matches!(path.trim_end_matches('/'), "/api" | "/apis");
        let accepted = negotiate(header(head, ACCEPT), &MEDIA_TYPES, |_, shape| match shape {
            Shape::Object => true,
            Shape::Discovery(_) => aggregates,
            _ => false,
        })?;
        let document = match accepted.shape {
            Shape::Object => document,
            _ => crate::discovery::answer(&self.api, path, &accepted).unwrap_or(document),
        };
        Ok(respond::document(&document?, accepted, head))
    }

    async fn resource(&self, request: &Arc<Request>, head: &Parts, body: &Bytes) -> Answer {
        let endpoint = route::find(&self.api, &request.info)?;
        let verb = route::verb(&request.info, &head.method)?;
        let has = |verb| endpoint.verbs().contains(&verb);
        if verb == Verb::Watch && !has(verb) && has(Verb::List) {
            let resource = endpoint.resource().group_resource();
            return Err(errors::method_not_supported(resource, "watch").into());
        }
        if !has(verb) {
            return Err(errors::method_not_allowed().into());
        }
        let offered: &[&str] = match verb {
            Verb::List | Verb::Watch => &LIST_MEDIA_TYPES,
            _ => &MEDIA_TYPES,
        };
        let has_protobuf = protobuf::has_form(endpoint.resource().kind.schema);
        let accepted = negotiate(header(head, ACCEPT), offered, |encoding, shape| {
            let is_protobuf = encoding == Encoding::Protobuf;
            match shape {
                Shape::Object => !is_protobuf || has_protobuf,
                Shape::Table(_) => !is_protobuf,
                // Whether the answer is a list turns out when it is there.
                Shape::PartialObjectMetadata(_) | Shape::PartialObjectMetadataList(_) => true,
                Shape::Discovery(_) => false,
            }
        })?;
        let outcome = match verb {
            Verb::Get => endpoint.get(request).await?,
            Verb::List => {
                endpoint
                    .list(request, ListOptions::from_query(&request.query, false)?)
                    .await?
            }
            Verb::Watch => {
                let options = ListOptions::from_query(&request.query, true)?;
                let options = match route::named(&request.info) {
                    Some(name) => options.of_one(name)?,
                    None => options,
                };
                endpoint.watch(request, options).await?
            }
            Verb::Create => self.create(endpoint, request, head, body).await?,
            Verb::Update => self.update(endpoint, request, head, body).await?,
            Verb::Patch => self.patch(endpoint, request, head, body).await?,
            Verb::Delete | Verb::DeleteCollection => self.delete(endpoint, verb, request, head, body).await?,
        };
        respond::outcome(endpoint, request, head, accepted, outcome)
    }

    async fn create(
        &self,
        endpoint: &Arc<dyn Endpoint>,
        request: &Arc<Request>,
        head: &Parts,
        body: &Bytes,
    ) -> Result<Outcome, Box<Status>> {
        let options = WriteOptions::from_query(Write::Create, &request.query)?;
        let mut object = self.decoded(endpoint, request, head, body, &options)?;
        metadata::accept_new(&mut object, endpoint.resource(), request)?;
        change::track(&**endpoint, request, &options, None, &mut object);
        self.admission
            .admit(request, endpoint.resource(), Verb::Create, Some(&object))
            .await?;
        let creation = Creation::new(&*self.admission, request, endpoint.resource());
        endpoint.create(request, object, options, creation).await
    }

    async fn update(
        &self,
        endpoint: &Arc<dyn Endpoint>,
        request: &Arc<Request>,
        head: &Parts,
        body: &Bytes,
    ) -> Result<Outcome, Box<Status>> {
        let options = WriteOptions::from_query(Write::Update, &request.query)?;
        let mut object = self.decoded(endpoint, request, head, body, &options)?;
        metadata::accept_replacement(&mut object, endpoint.resource(), request)?;
        self.admission
            .admit(request, endpoint.resource(), Verb::Update, Some(&object))
            .await?;
        let put = Put {
            endpoint: Arc::clone(endpoint),
            request: Arc::clone(request),
            admission: Arc::clone(&self.admission),
            options: options.clone(),
            object,
        };
        endpoint.update(request, Arc::new(put), options).await
    }

    async fn patch(
        &self,
        endpoint: &Arc<dyn Endpoint>,
        request: &Arc<Request>,
        head: &Parts,
        body: &Bytes,
    ) -> Result<Outcome, Box<Status>> {
        let patch_type = patch_type(header(head, CONTENT_TYPE))?;
        let write = match patch_type {
            PatchType::Apply => Write::Apply,
            _ => Write::Patch,
        };
        let options = WriteOptions::from_query(write, &request.query)?;
        let admission = &self.admission;
        let change: Arc<dyn Change> = match patch_type {
            PatchType::Apply => Arc::new(Applied::new(endpoint, request, admission, &options, body)?),
            _ => Arc::new(Patched::new(
                endpoint, request, admission, &options, patch_type, body,
            )?),
        };
        self.admission
            .admit(request, endpoint.resource(), Verb::Patch, None)
            .await?;
        endpoint.update(request, change, options).await
    }

    async fn delete(
        &self,
        endpoint: &Arc<dyn Endpoint>,
        verb: Verb,
        request: &Arc<Request>,
        head: &Parts,
        body: &Bytes,
    ) -> Result<Outcome, Box<Status>> {
        let format = if body.is_empty() {
            BodyFormat::Json
        } else {
            body_format(header(head, CONTENT_TYPE))?
        };
        let options = DeleteOptions::from_request(body, format, &request.query)?;
        self.admission
            .admit(request, endpoint.resource(), verb, None)
            .await?;
        if verb == Verb::Delete {
            return endpoint.delete(request, options).await;
        }
        let which = ListOptions::from_query(&request.query, false)?;
        endpoint.delete_collection(request, which, options).await
    }

    /// The object in a body, defaulted.
    fn decoded(
        &self,
        endpoint: &Arc<dyn Endpoint>,
        request: &Request,
        head: &Parts,
        body: &Bytes,
        options: &WriteOptions,
    ) -> Result<Value, Box<Status>> {
        let kind = endpoint.resource().kind;
        let format = body_format(header(head, CONTENT_TYPE))?;
        if format == BodyFormat::Protobuf && !protobuf::has_form(kind.schema) {
            return Err(errors::unsupported_media_type(&WITHOUT_PROTOBUF).into());
        }
        let is_registered = |wanted: &_| self.api.has_kind(wanted);
        let target = Target {
            group: kind.group,
            version: kind.version,
            kind: kind.kind,
            schema: kind.schema,
            is_registered: &is_registered,
            package: kind.package,
            scheme: LEGACY_SCHEME,
        };
        let refused = |error: DecodeError| Box::new(error.bad_request(kind.kind, body));
        let decoded = decode::decode(body, format, &target).map_err(refused)?;
        let (object, warnings) = decoded.validated(kind.kind, options.field_validation)?;
        for warning in warnings {
            request.warn(warning);
        }
        endpoint.normalise(object).map_err(|message| {
            refused(DecodeError {
                kind: Some(kind.gvk()),
                message,
            })
        })
    }
}

/// A header's value, if it is text.
fn header(head: &Parts, name: HeaderName) -> Option<&str> {
    head.headers.get(name).and_then(|value| value.to_str().ok())
}
