//! The endpoint of a stored resource: every verb, the same for all of them; a [`Strategy`] says what is particular.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::admission::Creation;
use crate::endpoint::{Change, Endpoint, Outcome, Reply, Request};
use crate::kind::{Column, Resource, Verb};
use crate::options::{DeleteOptions, ListOptions, WriteOptions};
use crate::storage::Objects;
use crate::strategy::Strategy;

mod delete;
mod write;

/// A stored resource.
pub struct Stored {
    objects: Arc<Objects>,
    strategy: Arc<dyn Strategy>,
    part: Option<&'static Resource>,
}

impl Stored {
    /// The endpoint of `objects`.
    #[must_use]
    pub fn new(objects: Arc<Objects>, strategy: Arc<dyn Strategy>) -> Self {
        Self {
            objects,
            strategy,
            part: None,
        }
    }

    /// The endpoint of a subresource that takes and gives whole `objects`, such as `status`. It shows them as they are
    /// stored.
    #[must_use]
    pub fn part(objects: Arc<Objects>, strategy: Arc<dyn Strategy>, part: &'static Resource) -> Self {
        Self {
            objects,
            strategy,
            part: Some(part),
        }
    }

    /// A stored object as this endpoint shows it.
    fn show(&self, object: Value) -> Value {
        match self.part {
            Some(_) => object,
            None => self.objects.show(object),
        }
    }
}

impl Endpoint for Stored {
    fn resource(&self) -> &'static Resource {
        self.part.unwrap_or_else(|| self.objects.resource())
    }

    fn verbs(&self) -> &'static [Verb] {
        self.strategy.verbs()
    }

    fn normalise(&self, object: Value) -> Result<Value, String> {
        self.strategy.normalise(object)
    }

    fn empty(&self) -> Value {
        self.objects.unset()
    }

    fn get<'a>(&'a self, request: &'a Request) -> Reply<'a> {
        Box::pin(async move {
            let (namespace, name) = (&request.info.namespace, &request.info.name);
            self.objects.check_read(name, &request.query).await?;
            let found = match self.part {
                None => self.objects.shown(namespace, name).await?.map(Outcome::ok),
                Some(_) => {
                    let stored = self.objects.get(namespace, name).await?;
                    stored.map(|stored| Outcome::ok(stored.object))
                }
            };
            found.ok_or_else(|| self.resource().not_found(name).into())
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

    fn create<'a>(
        &'a self,
        request: &'a Request,
        object: Value,
        options: WriteOptions,
        creation: Creation<'a>,
    ) -> Reply<'a> {
        Box::pin(self.create_object(request, object, options, creation))
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
