//! `imagestreammappings`: records an image that was pushed to a registry in a stream. The image and the stream that
//! points at it are written in one transaction. If the stream is refused the image alone is written, as
//! clients know it.

use std::sync::Arc;

use imagestream_api::field;
use imagestream_api::limits;
use imagestream_api::stream::push;
use imagestream_api::stream::write::status_update;
use imagestream_api::types::{GROUP, Image, ImageStream, ImageStreamMapping, Status, Time, Typed};
use imagestream_api::validation;
use imagestream_apiserver::admission::Creation;
use imagestream_apiserver::endpoint::{Endpoint, Outcome, Reply, Request};
use imagestream_apiserver::errors;
use imagestream_apiserver::kind::{Kind, Resource, Verb};
use imagestream_apiserver::metadata;
use imagestream_apiserver::options::WriteOptions;
use imagestream_apiserver::storage::failed;
use imagestream_import::fill;
use imagestream_store::{Precondition, StoreError, Write};
use serde::Deserialize;
use serde_json::Value;

use super::images::new_image;
use super::limits::of_namespace;
use super::stream_write::{complete, finish, identify, is_refusal, to_value, typed};
use super::tag_writer::{Subject, TagWriter, turn};
use crate::context::Context;
use crate::schema;

/// How often a push is recorded again in what others made of the stream.
const ATTEMPTS: usize = 10;

static IMAGE_STREAM_MAPPING: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "ImageStreamMapping",
    schema: &schema::image::IMAGE_STREAM_MAPPING,
    package: "image",
    description: "ImageStreamMapping represents a mapping from a single image stream tag to a container image as \
                  well as the reference to the container image stream the image came from. This resource is used by \
                  privileged integrators to create an image resource and to associate it with an image stream in the \
                  status tags field.",
};

/// `imagestreammappings`
pub static IMAGE_STREAM_MAPPINGS: Resource = Resource {
    kind: &IMAGE_STREAM_MAPPING,
    plural: "imagestreammappings",
    subresource: "",
    singular: "imagestreammapping",
    list_kind: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
};

/// The endpoint of a server.
#[must_use]
pub fn endpoint(context: &Arc<Context>) -> Arc<dyn Endpoint> {
    Arc::new(Mappings {
        context: Arc::clone(context),
    })
}

struct Mappings {
    context: Arc<Context>,
}

impl Mappings {
    async fn create_one(
        &self,
        request: &Request,
        object: Value,
        options: WriteOptions,
    ) -> Result<Outcome, Box<Status>> {
        metadata::refuse_generated_name(&object)?;
        let mut mapping: ImageStreamMapping = typed(object)?;
        let name = mapping.metadata.name.clone().unwrap_or_default();
        let namespace = &request.info.namespace;
        push::complete(
            &mut mapping.image,
            namespace,
            &name,
            self.context.hosts.internal(),
        );
        let problems = validation::image_stream_mapping(&mapping);
        if !problems.is_empty() {
            return Err(Box::new(field::invalid("ImageStreamMapping", &name, &problems)));
        }
        self.check_size(request, &name, &mapping.image).await?;
        let writer = TagWriter {
            context: &self.context,
            request,
            dry_run: options.dry_run,
        };
        self.record(&writer, &name, &mapping).await?;
        Ok(Outcome::Status(Box::new(Status {
            code: Some(201),
            ..errors::success(None)
        })))
    }

    /// Refuses an image that is larger than images in its namespace may be.
    async fn check_size(&self, request: &Request, name: &str, image: &Image) -> Result<(), Box<Status>> {
        let limits = of_namespace(&self.context, &request.info.namespace).await?;
        if !limits::limit_images(&limits) {
            return Ok(());
        }
        let mut image = image.clone();
        let forbidden = |why: String| {
            Box::new(errors::forbidden(
                IMAGE_STREAM_MAPPINGS.group_resource(),
                name,
                why,
            ))
        };
        fill::fill(&mut image, &Time(request.now)).map_err(|error| forbidden(error.to_string()))?;
        match limits::image_violation(image.docker_image_metadata.size, &limits) {
            Some(violation) => Err(forbidden(violation)),
            None => Ok(()),
        }
    }

    /// Writes image and stream. If others write the stream meanwhile the push is recorded in what they made of it,
    /// unless they moved the tag.
    async fn record(
        &self,
        writer: &TagWriter<'_>,
        name: &str,
        mapping: &ImageStreamMapping,
    ) -> Result<(), Box<Status>> {
        let _turn = turn(&writer.request.info.namespace, name).await;
        let mut before: Option<ImageStream> = None;
        for _ in 0..ATTEMPTS {
            let subject = writer.subject(name).await?.existing(&IMAGE_STREAM_MAPPINGS)?;
            if let Some(before) = &before
                && !push::is_undisturbed(before, &subject.stream, &mapping.tag)
            {
                let resource = IMAGE_STREAM_MAPPINGS.group_resource();
                return Err(errors::conflict(resource, name, errors::MODIFIED).into());
            }
            let push = self.push(writer, &subject, mapping).await?;
            if writer.dry_run || push.writes.is_empty() {
                return Ok(());
            }
            match self.context.store.commit(&push.preconditions, &push.writes).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict { .. }) => before = Some(subject.stream),
                Err(error) => return Err(failed(error)),
            }
        }
        Err(errors::untyped("timed out waiting for the condition").into())
    }

    /// What recording the push in a stream takes: the image, unless it exists, and the stream, unless the tag points at
    /// the image already.
    async fn push(
        &self,
        writer: &TagWriter<'_>,
        subject: &Subject,
        mapping: &ImageStreamMapping,
    ) -> Result<Push, Box<Status>> {
        let (images, streams) = (&self.context.images, &self.context.streams);
        let mut push = Push::default();
        images.ready().await?;
        let image_name = mapping.image.metadata.name.as_deref().unwrap_or_default();
        let existed = images.contains("", image_name);
        if !existed {
            let image = new_image(created(mapping.image.clone(), writer.request), &writer.now())?;
            let write = images.put(&complete(&image)?)?;
            push.add(Precondition::Absent(write.key().to_owned()), write);
        }
        let event = push::event(&subject.stream, &mapping.image, existed, &writer.now());
        let mut edited = subject.stream.clone();
        if push::record(&mut edited, &mapping.tag, &event) {
            let resolved = status_update(edited, subject.stream.clone());
            let stream = match finish(&self.context, resolved).await {
                Ok(stream) => stream,
                Err(status) => {
                    if is_refusal(&status) && !writer.dry_run {
                        self.keep_image(&push).await?;
                    }
                    return Err(status);
                }
            };
            let write = streams.put(&to_value(&stream)?)?;
            let unchanged = Precondition::ModRevision(write.key().to_owned(), subject.revision());
            push.add(unchanged, write);
        }
        Ok(push)
    }

    /// Stores the image of a push whose stream is refused, unless it is there.
    async fn keep_image(&self, push: &Push) -> Result<(), Box<Status>> {
        if push.writes.is_empty() {
            return Ok(());
        }
        match self.context.store.commit(&push.preconditions, &push.writes).await {
            // Somebody else created it.
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

/// One transaction; of the image alone until the stream is added.
#[derive(Default)]
struct Push {
    preconditions: Vec<Precondition>,
    writes: Vec<Write>,
}

impl Push {
    fn add(&mut self, precondition: Precondition, write: Write) {
        self.preconditions.push(precondition);
        self.writes.push(write);
    }
}

/// An image inside of a mapping as one that is created: what only a server can say is not the client's.
fn created(mut image: Image, request: &Request) -> Image {
    let metadata = &mut image.metadata;
    metadata.resource_version = None;
    metadata.deletion_timestamp = None;
    metadata.deletion_grace_period_seconds = None;
    metadata.self_link = None;
    identify(metadata, request.now);
    image
}

impl Endpoint for Mappings {
    fn resource(&self) -> &'static Resource {
        &IMAGE_STREAM_MAPPINGS
    }

    fn verbs(&self) -> &'static [Verb] {
        &[Verb::Create]
    }

    fn normalise(&self, object: Value) -> Result<Value, String> {
        let mapping = ImageStreamMapping::deserialize(object).map_err(|error| error.to_string())?;
        serde_json::to_value(Typed::new(&mapping)).map_err(|error| error.to_string())
    }

    fn create<'a>(
        &'a self,
        request: &'a Request,
        object: Value,
        options: WriteOptions,
        _: Creation<'a>,
    ) -> Reply<'a> {
        Box::pin(self.create_one(request, object, options))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use imagestream_api::allowed_registries::{AllowedRegistries, RegistryLocation};
    use imagestream_api::stream::repository::RegistryHosts;
    use serde_json::{Value, json};

    use crate::image::testing::{Options, Rival, TestServer};

    const MAPPINGS: &str = "imagestreammappings";

    fn digest(letter: &str) -> String {
        format!("sha256:{}", letter.repeat(64))
    }

    fn mapping(letter: &str, tag: &str) -> Value {
        let name = digest(letter);
        json!({"kind": "ImageStreamMapping", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "s"},
               "tag": tag, "image": {"metadata": {"name": name}, "dockerImageReference": format!("a/b@{name}")}})
    }

    async fn with_stream(server: TestServer) -> TestServer {
        let stream = json!({
            "kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "s"},
            "spec": {"tags": [{"name": "tracking", "from": {"kind": "ImageStreamTag", "name": "t"}}]}
        });
        server.post("admin", "imagestreams", &stream, 201).await;
        server
    }

    async fn server() -> TestServer {
        with_stream(TestServer::start().await).await
    }

    /// The images of a tag's history.
    async fn history(server: &TestServer, tag: &str) -> Vec<String> {
        let (_, stream) = server.get("imagestreams/s").await;
        let tags = stream["status"]["tags"].as_array().cloned().unwrap_or_default();
        let history = tags.into_iter().find(|history| history["tag"] == tag);
        let items = history
            .map(|history| history["items"].clone())
            .unwrap_or_default();
        let items = items.as_array().cloned().unwrap_or_default();
        items
            .iter()
            .map(|item| item["image"].as_str().unwrap().to_owned())
            .collect()
    }

    #[tokio::test]
    async fn a_push_stores_image_and_history_in_one_commit() {
        let server = server().await;
        let before = server.context.store.current_revision().await.unwrap();
        let answer = server.post("admin", MAPPINGS, &mapping("a", "t"), 201).await;
        let success =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        assert_eq!(answer, success);
        assert_eq!(server.context.store.current_revision().await.unwrap(), before + 1);
        assert_eq!(server.images().await, [digest("a")]);
        server.post("admin", MAPPINGS, &mapping("b", "t"), 201).await;
        for tag in ["t", "tracking"] {
            assert_eq!(history(&server, tag).await, [digest("b"), digest("a")], "{tag}");
        }
        let after = server.context.store.current_revision().await.unwrap();
        server.post("admin", MAPPINGS, &mapping("b", "t"), 201).await;
        assert_eq!(
            server.context.store.current_revision().await.unwrap(),
            after,
            "nothing changed"
        );
    }

    #[tokio::test]
    async fn a_push_that_cannot_be_recorded_leaves_nothing_behind() {
        let server = server().await;
        let before = server.get("imagestreams/s").await;
        let mut nowhere = mapping("a", "t");
        nowhere["metadata"]["name"] = json!("o");
        let mut invalid = mapping("a", "t");
        invalid["tag"] = json!("");
        let mut generated = mapping("a", "t");
        generated["metadata"] = json!({"generateName": "s"});
        for (mapping, code, expected) in [
            (
                &nowhere,
                404,
                r#"imagestreammappings.image.openshift.io "o" not found"#,
            ),
            (
                &invalid,
                422,
                r#"ImageStreamMapping.image.openshift.io "s" is invalid: tag: Required value"#,
            ),
            (
                &generated,
                500,
                "Internal error occurred: metadata.name was not generated",
            ),
        ] {
            let answer = server.post("admin", MAPPINGS, mapping, code).await;
            assert_eq!(answer["message"], expected);
        }
        let target = "/apis/image.openshift.io/v1/namespaces/n/imagestreammappings?dryRun=All";
        let (code, _) = server
            .send("admin", "POST", target, Some(&mapping("a", "t")))
            .await;
        assert_eq!(code, 201);
        assert_eq!(server.get("imagestreams/s").await, before);
        assert_eq!(server.images().await, [""; 0]);
    }

    #[tokio::test]
    async fn a_push_to_the_integrated_registry_need_not_say_where_it_went() {
        let options = Options {
            hosts: RegistryHosts {
                internal: Some("r:5000".into()),
                external: Vec::new(),
            },
            ..Options::default()
        };
        let server = with_stream(TestServer::start_with(options).await).await;
        let mut sent = mapping("a", "t");
        sent["image"]["dockerImageReference"] = json!("");
        sent["image"]["signatures"] = json!([{"metadata": {"name": "x@y"}, "type": "t", "content": "AA=="}]);
        server.post("admin", MAPPINGS, &sent, 201).await;
        let (_, stream) = server.get("imagestreams/s").await;
        let expected = json!(format!("r:5000/n/s@{}", digest("a")));
        assert_eq!(
            stream["status"]["tags"][0]["items"][0]["dockerImageReference"],
            expected
        );
        let target = format!("/apis/image.openshift.io/v1/images/{}", digest("a"));
        let (_, image) = server.send("admin", "GET", &target, None).await;
        assert_eq!(
            (&image["dockerImageReference"], image.get("signatures")),
            (&expected, None)
        );
    }

    #[tokio::test]
    async fn images_and_streams_are_held_to_the_limits_of_the_namespace() {
        let server = server().await;
        let limit = |name: &str, limits: Value| json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"limits": [limits]}});
        let of_images = limit(
            "i",
            json!({"type": "openshift.io/Image", "max": {"storage": "5Ki"}}),
        );
        let of_streams = limit(
            "s",
            json!({"type": "openshift.io/ImageStream", "max": {"openshift.io/images": "1"}}),
        );
        for range in [of_images, of_streams] {
            server.store(&server.context.limit_ranges, range).await;
        }
        let mut large = mapping("a", "t");
        large["image"]["dockerImageMetadata"] = json!({"Size": 5121});
        let answer = server.post("admin", MAPPINGS, &large, 403).await;
        assert_eq!(
            answer["message"],
            "imagestreammappings.image.openshift.io \"s\" is forbidden: requested usage of storage exceeds the maximum \
             limit per openshift.io/Image (5121 > 5Ki)"
        );
        let mut unreadable = mapping("a", "t");
        unreadable["image"]["dockerImageManifest"] = json!(r#"{"schemaVersion":3}"#);
        let answer = server.post("admin", MAPPINGS, &unreadable, 403).await;
        let message = answer["message"].as_str().unwrap();
        assert!(
            message.contains("is forbidden: unrecognized container image manifest schema 3"),
            "{message}"
        );
        let mut fitting = mapping("a", "t");
        fitting["image"]["dockerImageMetadata"] = json!({"Size": 5120});
        server.post("admin", MAPPINGS, &fitting, 201).await;
        let answer = server.post("admin", MAPPINGS, &mapping("b", "t"), 422).await;
        assert_eq!(
            answer["message"],
            "ImageStream.image.openshift.io \"s\" is invalid: imageStream: Forbidden: ImageStream.image.openshift.io \
             \"s\" is forbidden: requested usage of openshift.io/images exceeds the maximum limit per \
             openshift.io/ImageStream (2 > 1)"
        );
        assert_eq!(history(&server, "t").await, [digest("a")]);
        assert_eq!(server.images().await, [digest("a"), digest("b")]);
    }

    #[tokio::test]
    async fn an_image_stays_when_its_stream_is_refused_unless_it_is_only_tried() {
        let allowed = RegistryLocation {
            domain_name: "registry.example.com".into(),
            insecure: false,
        };
        let options = Options {
            allowed_registries: AllowedRegistries::new(&[allowed]).unwrap(),
            ..Options::default()
        };
        let server = with_stream(TestServer::start_with(options).await).await;
        let before = server.get("imagestreams/s").await;
        let pushed = mapping("a", "t");
        let target = "/apis/image.openshift.io/v1/namespaces/n/imagestreammappings?dryRun=All";
        assert_eq!(server.send("admin", "POST", target, Some(&pushed)).await.0, 422);
        assert_eq!(server.images().await, [""; 0]);
        // Again, when it is there.
        for _ in 0..2 {
            let refused = server.post("admin", MAPPINGS, &pushed, 422).await;
            assert_eq!(
                refused["details"]["causes"][0]["field"],
                "status.tags[t].items[0].dockerImageReference"
            );
            assert_eq!(server.images().await, [digest("a")]);
        }
        assert_eq!(server.get("imagestreams/s").await, before);
    }

    #[tokio::test]
    async fn a_push_is_recorded_again_in_what_others_made_of_the_stream() {
        let rival = Arc::new(Rival::default());
        let options = Options {
            rival: Some(Arc::clone(&rival)),
            ..Options::default()
        };
        let server = with_stream(TestServer::start_with(options).await).await;
        rival.forestall(9);
        server.post("admin", MAPPINGS, &mapping("a", "t"), 201).await;
        assert_eq!(rival.tried(), 10);
        rival.forestall(10);
        let answer = server.post("admin", MAPPINGS, &mapping("b", "t"), 500).await;
        assert_eq!(answer["message"], "timed out waiting for the condition");
        assert_eq!(
            (history(&server, "t").await, server.images().await),
            (vec![digest("a")], vec![digest("a")])
        );
    }
}
