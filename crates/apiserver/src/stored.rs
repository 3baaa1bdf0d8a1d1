//! The endpoint of a stored resource: every verb, the same for all of them; a [`Strategy`] says what is particular.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::endpoint::{Change, Endpoint, Outcome, Reply, Request};
use crate::kind::{Column, Resource, Verb};
use crate::options::{DeleteOptions, ListOptions, WriteOptions, resource_version};
use crate::storage::Objects;
use crate::strategy::Strategy;

mod delete;
mod write;

/// A stored resource.
pub struct Stored {
    objects: Arc<Objects>,
    strategy: Arc<dyn Strategy>,
}

impl Stored {
    /// The endpoint of `objects`.
    #[must_use]
    pub fn new(objects: Arc<Objects>, strategy: Arc<dyn Strategy>) -> Self {
        Self { objects, strategy }
    }
}

impl Endpoint for Stored {
    fn resource(&self) -> &'static Resource {
        self.objects.resource()
    }

    fn verbs(&self) -> &'static [Verb] {
        self.strategy.verbs()
    }

    fn normalise(&self, object: Value) -> Result<Value, String> {
        self.strategy.normalise(object)
    }

    fn get<'a>(&'a self, request: &'a Request) -> Reply<'a> {
        Box::pin(async move {
            let options = ListOptions::from_query(&request.query, false)?;
            let asked = resource_version(&options.resource_version)?;
            if asked > 0 {
                self.objects.check_reached(asked).await?;
            }
            let name = &request.info.name;
            let found = self.objects.shown(&request.info.namespace, name).await?;
            match found {
                Some(encoded) => Ok(Outcome::ok(encoded)),
                None => Err(self.resource().not_found(name).into()),
            }
        })
    }

    fn list<'a>(&'a self, request: &'a Request, options: ListOptions) -> Reply<'a> {
        Box::pin(async move {
            let list = self.objects.list(&request.info.namespace, &options).await?;
            Ok(Outcome::List(list))
        })
    }

    fn watch<'a>(&'a self, request: &'a Request, options: ListOptions) -> Reply<'a> {
        Box::pin(async move {
            let events = self.objects.watch(&request.info.namespace, options).await?;
            Ok(Outcome::Watch(events))
        })
    }

    fn create<'a>(&'a self, request: &'a Request, object: Value, options: WriteOptions) -> Reply<'a> {
        Box::pin(self.create_object(request, object, options))
    }

    fn update<'a>(
        &'a self,
        request: &'a Request,
        change: Arc<dyn Change>,
        options: WriteOptions,
    ) -> Reply<'a> {
        Box::pin(self.update_object(request, change, options))
    }

    fn delete<'a>(&'a self, request: &'a Request, options: DeleteOptions) -> Reply<'a> {
        Box::pin(self.delete_object(request, options))
    }

    fn delete_collection<'a>(
        &'a self,
        request: &'a Request,
        which: ListOptions,
        options: DeleteOptions,
    ) -> Reply<'a> {
        Box::pin(self.delete_all(request, which, options))
    }

    fn columns(&self) -> Option<&'static [Column]> {
        self.strategy.columns()
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        self.strategy.cells(object, now)
    }
}
