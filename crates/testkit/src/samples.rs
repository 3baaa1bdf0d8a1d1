//! The content of the sample registry: small, but made the way that real images are.

use crate::content::Content;
use crate::image::Image;
use crate::index::Index;
use crate::layer::Layer;

/// How many tags `demo/many` has.
pub const MANY_TAGS: usize = 120;

/// `demo/hello` (one image per tag), `demo/web` (several platforms), `demo/many` (120 tags) and `demo/broken`
/// (a tag whose config is lost).
#[must_use]
pub fn demo() -> Content {
    Content::new()
        .image("demo/hello", "1.0", hello("1.0"))
        .image("demo/hello", "1.1", hello("1.1"))
        .alias("demo/hello", "latest", "1.1")
        .index_of("demo/web", "2.3", &web("2.3.0"))
        .index_of("demo/web", "2.4.1", &web("2.4.1"))
        .alias("demo/web", "2.4", "2.4.1")
        .alias("demo/web", "latest", "2.4.1")
        .tags("demo/many", MANY_TAGS)
        .image("demo/broken", "latest", hello("3.0"))
        .image_without_config("demo/broken", "old", hello("2.0"))
}

/// A program that greets.
#[must_use]
pub fn hello(version: &str) -> Image {
    described(Image::new(), "hello", "Says hello on standard output", version)
        .docker()
        .env("GREETING", "hello")
        .entrypoint(&["/usr/local/bin/hello"])
        .cmd(&["--to", "world"])
        .user("1001")
        .workdir("/srv")
}

/// A web server for three platforms, with attestations.
#[must_use]
pub fn web(version: &str) -> Index {
    let image = |architecture: &str| {
        described(Image::new(), "web", "Serves files over HTTP", version)
            .layer(Layer::file("usr/sbin/web", architecture.as_bytes()))
            .env("WEB_ROOT", "/srv/www")
            .env("WEB_PORT", "8080")
            .expose("8080/tcp")
            .expose("8443/tcp")
            .volume("/srv/www")
            .cmd(&["/usr/sbin/web", "--foreground"])
            .user("web")
    };
    Index::of([
        ("linux/amd64", image("amd64")),
        ("linux/arm64", image("arm64")),
        ("linux/arm/v7", image("arm")),
    ])
    .attested()
}

fn described(image: Image, title: &str, description: &str, version: &str) -> Image {
    image
        .distinct(version)
        .author("Sample Authors <authors@example.com>")
        .label("org.opencontainers.image.title", title)
        .label("org.opencontainers.image.description", description)
        .label(
            "org.opencontainers.image.source",
            "https://example.com/demo/source",
        )
        .label("org.opencontainers.image.licenses", "Apache-2.0")
}
