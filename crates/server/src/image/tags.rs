//! The endpoint of objects that are computed from one tag of a stream each, and whose writes edit the stream. The two
//! kinds of such objects say in [`TagObject`] how they differ.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use imagestream_api::allowed_registries::AllowedRegistries;
use imagestream_api::defaults::ImportMode;
use imagestream_api::field::{self, FieldError};
use imagestream_api::names::{Compound, StreamTag};
use imagestream_api::stream::tag_edit;
use imagestream_api::tables::Row;
use imagestream_api::types::{
    GROUP, Image, ImageStream, Kind, ObjectMeta, Status, TagReference, Time, Typed,
};
use imagestream_apiserver::admission::Creation;
use imagestream_apiserver::endpoint::{Change, Endpoint, ObjectList, Outcome, Reply, Request};
use imagestream_apiserver::errors::{self, GroupResource};
use imagestream_apiserver::kind::{Column, Resource, Verb};
use imagestream_apiserver::metadata::{self, text};
use imagestream_apiserver::options::{DeleteOptions, ListOptions, WriteOptions};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::images::filled;
use super::stream_write::{complete, typed};
use super::table;
use super::tag_writer::{Subject, TagWriter, turn};
use crate::context::Context;

/// How often a creation or deletion is tried when others write the stream at the same time.
const ATTEMPTS: usize = 10;
/// Seconds after which a client may try again what could not be done in so many attempts.
const RETRY_SECONDS: u16 = 2;
/// How long an update waits before each further attempt.
const UPDATE_WAITS: [Duration; 3] = [
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(250),
];
/// By which fields tags can be selected.
const SELECTABLE: [&str; 2] = ["metadata.name", "metadata.namespace"];

/// An object that is computed from one tag of a stream.
pub(super) trait TagObject:
    Default + Kind + Row + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Where the objects are.
    const RESOURCE: &'static Resource;
    /// What they are called.
    const NAME: Compound;
    /// What the error says that there is when one is created twice.
    const TAKEN: &'static str;
    /// Whether a tag can only be shown with its image.
    const NEEDS_IMAGE: bool;

    /// Whether the stream has something to show for a tag.
    ///
    /// # Errors
    /// 404 if not.
    fn find(stream: &ImageStream, tag: &str) -> Result<(), Box<Status>>;

    /// The object for a tag, whatever the stream has of it.
    fn view(stream: &ImageStream, tag: &str, image: Option<&Image>) -> Self;

    /// The objects for all tags, by name.
    fn views(stream: &ImageStream) -> Vec<Self>;

    /// Its metadata.
    fn metadata(&mut self) -> &mut ObjectMeta;

    /// The tag for the spec that it holds.
    fn reference(&self) -> Option<TagReference>;

    /// Fills in what a client left out.
    fn fill_in_defaults(&mut self, mode: ImportMode);

    /// Prepares an object that is created.
    fn prepare_new(&mut self);

    /// Prepares an object that replaces `stored`.
    fn prepare(&mut self, stored: &Self);

    /// What is wrong with an object that is created.
    fn errors_of_new(&self, registries: &AllowedRegistries) -> Vec<FieldError>;

    /// What is wrong with an object that replaces `stored`.
    fn errors(&self, stored: &Self, registries: &AllowedRegistries) -> Vec<FieldError>;

    /// Makes of the stream what an update by this object makes of it; whether the tag is new in the spec.
    ///
    /// # Errors
    /// 400 if there is nothing to update.
    fn apply(&self, stream: &mut ImageStream, tag: &str) -> Result<bool, Box<Status>>;

    /// The columns of the table.
    fn columns() -> &'static [Column];
}

/// The endpoint of one kind of such objects.
pub(super) struct Tags<T> {
    context: Arc<Context>,
    kind: PhantomData<fn() -> T>,
}

impl<T: TagObject> Tags<T> {
    pub(super) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
            kind: PhantomData,
        }
    }

    fn writer<'a>(&'a self, request: &'a Request, dry_run: bool) -> TagWriter<'a> {
        TagWriter {
            context: &self.context,
            request,
            dry_run,
        }
    }

    async fn get_one(&self, request: &Request) -> Result<Outcome, Box<Status>> {
        let (name, tag) = parsed::<T>(request)?;
        self.context.streams.check_read(name, &request.query).await?;
        let subject = self.writer(request, false).subject(name).await?;
        let stream = subject.existing(T::RESOURCE)?.stream;
        T::find(&stream, tag)?;
        let image = self.image(&stream, tag, &Time(request.now)).await?;
        if let (None, true, Some(missing)) = (&image, T::NEEDS_IMAGE, image_name(&stream, tag)) {
            return Err(T::RESOURCE.not_found(missing).into());
        }
        Ok(Outcome::ok(complete(&T::view(&stream, tag, image.as_ref()))?))
    }

    async fn list_all(&self, request: &Request, options: ListOptions) -> Result<Outcome, Box<Status>> {
        let fields = &options.field_selector;
        fields
            .restrict_to(&SELECTABLE)
            .map_err(|error| errors::bad_request(error.to_string()))?;
        // The selectors choose streams and then tags. That a limit counts streams, and that nothing says that there are
        // more, is what clients know.
        let streams = self
            .context
            .streams
            .list(&request.info.namespace, &options)
            .await?;
        let mut items = Vec::new();
        for stream in streams.items {
            let stream: ImageStream = typed(stream.into_value()?)?;
            for view in T::views(&stream) {
                let object = complete(&view)?;
                let is_selected = fields.matches(|field| match field {
                    "metadata.name" => text(&object, "name"),
                    _ => text(&object, "namespace"),
                });
                if is_selected {
                    items.push(object.into());
                }
            }
        }
        Ok(Outcome::List(ObjectList {
            items,
            ..ObjectList::default()
        }))
    }

    async fn create_one(
        &self,
        request: &Request,
        object: Value,
        options: WriteOptions,
        creation: Creation<'_>,
    ) -> Result<Outcome, Box<Status>> {
        metadata::refuse_generated_name(&object)?;
        let mut object: T = typed(object)?;
        object.prepare_new();
        let problems = object.errors_of_new(&self.context.allowed_registries);
        refuse(&mut object, &problems)?;
        let full_name = object.metadata().name.clone().unwrap_or_default();
        let StreamTag {
            stream: name, tag, ..
        } = StreamTag::to_create(&full_name).map_err(errors::untyped)?;
        let valid = complete(&object)?;
        let admitted = creation.admit_valid(&valid).await?;
        let writer = self.writer(request, options.dry_run);
        let _turn = turn(&request.info.namespace, name).await;
        for _ in 0..ATTEMPTS {
            let subject = writer.subject(name).await?;
            let mut edited = subject.stream.clone();
            tag_edit::add(&mut edited, tag, object.reference())
                .map_err(|_| errors::already_exists(GroupResource::new(GROUP, T::TAKEN), &full_name))?;
            if let Some(stream) = writer.store(&subject, edited).await? {
                if subject.is_new() {
                    admitted.stored();
                }
                let view = self.written(&stream, tag, &writer.now()).await?;
                return Ok(Outcome::created(view));
            }
        }
        Err(gave_up::<T>("create"))
    }

    async fn update_one(
        &self,
        request: &Request,
        change: &dyn Change,
        options: WriteOptions,
    ) -> Result<Outcome, Box<Status>> {
        let (name, tag) = parsed::<T>(request)?;
        let writer = self.writer(request, options.dry_run);
        let _turn = turn(&request.info.namespace, name).await;
        let mut waits = UPDATE_WAITS.into_iter();
        let mut admitted = None;
        loop {
            let subject = writer.subject(name).await?;
            let object = self.replacement(request, &subject, tag, change)?;
            // Where there is no stream yet the tag comes with one: that is a creation.
            if subject.is_new() && admitted.is_none() {
                let (creation, object) = (change.creation(), complete(&object)?);
                creation.admit(&object).await?;
                admitted = Some(creation.admit_valid(&object).await?);
            }
            let mut edited = subject.stream.clone();
            let is_new = object.apply(&mut edited, tag)?;
            if let Some(stream) = writer.store(&subject, edited).await? {
                if let Some(admitted) = admitted.filter(|_| subject.is_new()) {
                    admitted.stored();
                }
                let view = self.written(&stream, tag, &writer.now()).await?;
                return Ok(if is_new {
                    Outcome::created(view)
                } else {
                    Outcome::ok(view)
                });
            }
            match waits.next().filter(|_| change.is_repeatable()) {
                Some(wait) => tokio::time::sleep(jittered(wait)).await,
                None => {
                    let resource = T::RESOURCE.group_resource();
                    return Err(errors::conflict(resource, name, errors::MODIFIED).into());
                }
            }
        }
    }

    /// The object that a client wants for a tag, if it may have it.
    fn replacement(
        &self,
        request: &Request,
        subject: &Subject,
        tag: &str,
        change: &dyn Change,
    ) -> Result<T, Box<Status>> {
        let registries = &self.context.allowed_registries;
        let mut stored = T::view(&subject.stream, tag, None);
        let current = complete(&stored)?;
        let mut wanted = change.wanted(Some(&current))?;
        let full_name = &request.info.name;
        let version = text(&current, "resourceVersion");
        match text(&wanted, "resourceVersion") {
            // Nothing says that the client knows what it overwrites; clients have always been allowed that.
            "" => {}
            _ if subject.is_new() => return Err(T::RESOURCE.not_found(full_name).into()),
            known if known != version => {
                let why = format!("another caller has updated the resource version to {version}");
                return Err(errors::conflict(T::RESOURCE.group_resource(), full_name, why).into());
            }
            _ => {}
        }
        if subject.is_new() {
            let mut object: T = typed(wanted)?;
            object.prepare_new();
            let problems = object.errors_of_new(registries);
            refuse(&mut object, &problems)?;
            return Ok(object);
        }
        metadata::keep_stored(&mut wanted, &current);
        let mut object: T = typed(wanted)?;
        let kept = stored.metadata();
        object
            .metadata()
            .resource_version
            .clone_from(&kept.resource_version);
        // Who set which field is known of the stream, not of its tags.
        object.metadata().managed_fields.clone_from(&kept.managed_fields);
        object.prepare(&stored);
        let problems = object.errors(&stored, registries);
        refuse(&mut object, &problems)?;
        Ok(object)
    }

    async fn delete_one(&self, request: &Request, options: DeleteOptions) -> Result<Outcome, Box<Status>> {
        let (name, tag) = parsed::<T>(request)?;
        let full_name = &request.info.name;
        let writer = self.writer(request, options.dry_run);
        let _turn = turn(&request.info.namespace, name).await;
        for _ in 0..ATTEMPTS {
            let subject = writer.subject(name).await?.existing(T::RESOURCE)?;
            if let Some(uid) = &options.uid
                && subject.stream.metadata.uid.as_ref() != Some(uid)
            {
                let why = "the UID precondition was not met";
                return Err(errors::conflict(T::RESOURCE.group_resource(), full_name, why).into());
            }
            let mut edited = subject.stream.clone();
            if !tag_edit::remove(&mut edited, tag) {
                return Err(T::RESOURCE.not_found(full_name).into());
            }
            if writer.store(&subject, edited).await?.is_some() {
                return Ok(Outcome::success());
            }
        }
        Err(gave_up::<T>("delete"))
    }

    /// The object for a tag that was just written. It is written, whether its image can be read or not.
    async fn written(&self, stream: &ImageStream, tag: &str, now: &Time) -> Result<Value, Box<Status>> {
        let image = self.image(stream, tag, now).await.unwrap_or_else(|status| {
            tracing::warn!(tag, error = ?status.message, "a tag is answered without its image");
            None
        });
        complete(&T::view(stream, tag, image.as_ref()))
    }

    /// The image that a tag points at, if it exists.
    async fn image(&self, stream: &ImageStream, tag: &str, now: &Time) -> Result<Option<Image>, Box<Status>> {
        match image_name(stream, tag) {
            Some(name) => filled(&self.context, name, now).await,
            None => Ok(None),
        }
    }
}

impl<T: TagObject> Endpoint for Tags<T> {
    fn resource(&self) -> &'static Resource {
        T::RESOURCE
    }

    fn verbs(&self) -> &'static [Verb] {
        &[
            Verb::Create,
            Verb::Delete,
            Verb::Get,
            Verb::List,
            Verb::Patch,
            Verb::Update,
        ]
    }

    fn empty(&self) -> Value {
        json!(T::default())
    }

    fn normalise(&self, object: Value) -> Result<Value, String> {
        let mut object = T::deserialize(object).map_err(|error| error.to_string())?;
        object.fill_in_defaults(self.context.import_mode);
        serde_json::to_value(Typed::new(&object)).map_err(|error| error.to_string())
    }

    fn get<'a>(&'a self, request: &'a Request) -> Reply<'a> {
        Box::pin(self.get_one(request))
    }

    fn list<'a>(&'a self, request: &'a Request, options: ListOptions) -> Reply<'a> {
        Box::pin(self.list_all(request, options))
    }

    fn create<'a>(
        &'a self,
        request: &'a Request,
        object: Value,
        options: WriteOptions,
        creation: Creation<'a>,
    ) -> Reply<'a> {
        Box::pin(self.create_one(request, object, options, creation))
    }

    fn update<'a>(
        &'a self,
        request: &'a Request,
        change: Arc<dyn Change>,
        options: WriteOptions,
    ) -> Reply<'a> {
        Box::pin(async move { self.update_one(request, &*change, options).await })
    }

    fn delete<'a>(&'a self, request: &'a Request, options: DeleteOptions) -> Reply<'a> {
        Box::pin(self.delete_one(request, options))
    }

    fn columns(&self) -> Option<&'static [Column]> {
        Some(T::columns())
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        table::cells::<T>(object, now)
    }
}

/// Stream and tag that a request names.
fn parsed<T: TagObject>(request: &Request) -> Result<(&str, &str), Box<Status>> {
    T::NAME
        .parse(&request.info.name)
        .map_err(|error| Box::new(error.into()))
}

/// The name of the image that a tag points at.
fn image_name<'a>(stream: &'a ImageStream, tag: &str) -> Option<&'a str> {
    let event = stream.status.tags.get(tag)?.items.first()?;
    Some(event.image.as_str()).filter(|name| !name.is_empty())
}

fn refuse<T: TagObject>(object: &mut T, problems: &[FieldError]) -> Result<(), Box<Status>> {
    if problems.is_empty() {
        return Ok(());
    }
    let name = object.metadata().name.as_deref().unwrap_or_default();
    Err(Box::new(field::invalid(T::KIND, name, problems)))
}

fn gave_up<T: TagObject>(operation: &str) -> Box<Status> {
    errors::server_timeout(T::RESOURCE.group_resource(), operation, RETRY_SECONDS).into()
}

/// Up to a tenth more, so that those who collided do not do so again.
fn jittered(wait: Duration) -> Duration {
    let [random, ..] = *uuid::Uuid::new_v4().as_bytes();
    wait + wait * u32::from(random) / (10 * u32::from(u8::MAX))
}

#[cfg(test)]
mod tests;
