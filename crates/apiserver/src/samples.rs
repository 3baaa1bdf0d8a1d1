//! Resources for tests of what is published about resources.

use std::sync::Arc;

use crate::api::Api;
use crate::endpoint::Endpoint;
use crate::kind::{Kind, Resource, Verb};
use crate::schema::{API_VERSION, INT64, KIND, List, METADATA, Object, Schema, TEXT, field};

const HOME: &str = "com.example.v1";

static PART: Object = Object::new(
    HOME,
    "Part",
    "A part of a widget.",
    &[
        field("name", 1, TEXT, "The name of the part.").required(),
        field("weight", 2, INT64, "The weight in grams."),
    ],
);

static PARTS: List = List::by_key(Schema::Object(&PART), "name");

static WIDGET_SPEC: Object = Object::new(
    HOME,
    "WidgetSpec",
    "What a widget is to be.",
    &[
        field("parts", 1, Schema::List(&PARTS), "What it is made of."),
        field("seal", 2, Schema::Bytes, "Shows who made it."),
        field("made", 3, Schema::Time, "When it was made."),
        field("extra", 4, Schema::Raw, "Anything else."),
        field("sizes", 5, Schema::Map(&Schema::Quantity), "Its sizes."),
    ],
);

static WIDGET: Object = Object::new(
    HOME,
    "Widget",
    "Something useful.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field("spec", 2, Schema::Object(&WIDGET_SPEC), "What it is to be."),
    ],
);

pub(crate) static WIDGET_KIND: Kind = Kind {
    group: "example.com",
    version: "v1",
    kind: "Widget",
    schema: &WIDGET,
    package: "example",
    description: "Something useful.",
};

static WIDGETS: Resource = Resource {
    kind: &WIDGET_KIND,
    plural: "widgets",
    subresource: "",
    singular: "widget",
    list_kind: "WidgetList",
    short_names: &["wi"],
    categories: &["all"],
    namespaced: true,
};

static WIDGETS_STATUS: Resource = Resource {
    subresource: "status",
    singular: "",
    list_kind: "",
    short_names: &[],
    categories: &[],
    ..WIDGETS
};

static WIDGET_CHECK: Object = Object::new(
    HOME,
    "WidgetCheck",
    "Asks whether a widget works.",
    &[KIND, API_VERSION, METADATA],
);

static WIDGET_CHECK_KIND: Kind = Kind {
    kind: "WidgetCheck",
    schema: &WIDGET_CHECK,
    description: "Asks whether a widget works.",
    ..WIDGET_KIND
};

static WIDGET_CHECKS: Resource = Resource {
    kind: &WIDGET_CHECK_KIND,
    plural: "widgetchecks",
    singular: "widgetcheck",
    list_kind: "",
    short_names: &[],
    categories: &[],
    ..WIDGETS
};

static PLACE: Object = Object::new(
    HOME,
    "Place",
    "Where widgets are.",
    &[KIND, API_VERSION, METADATA],
);

static PLACE_KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Place",
    schema: &PLACE,
    package: "core",
    description: "Where widgets are.",
};

static PLACES: Resource = Resource {
    kind: &PLACE_KIND,
    plural: "places",
    subresource: "",
    singular: "place",
    list_kind: "PlaceList",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

static OTHER_PLACE_KIND: Kind = Kind {
    group: "an.example.com",
    ..PLACE_KIND
};

static OTHER_PLACES: Resource = Resource {
    kind: &OTHER_PLACE_KIND,
    ..PLACES
};

static GEARS: Resource = Resource {
    plural: "gears",
    singular: "gear",
    ..WIDGETS
};

static NAMESPACES: Resource = Resource {
    plural: "namespaces",
    singular: "namespace",
    list_kind: "NamespaceList",
    ..PLACES
};

static NAMESPACES_FINALIZE: Resource = Resource {
    subresource: "finalize",
    singular: "",
    list_kind: "",
    ..NAMESPACES
};

struct Sample(&'static Resource, &'static [Verb]);

impl Endpoint for Sample {
    fn resource(&self) -> &'static Resource {
        self.0
    }

    fn verbs(&self) -> &'static [Verb] {
        self.1
    }
}

/// A core group, a group that comes first and one that comes later.
pub(crate) fn api() -> Api {
    Api::new(vec![
        Arc::new(Sample(&PLACES, Verb::ALL)),
        Arc::new(Sample(&WIDGETS_STATUS, &[Verb::Get, Verb::Patch, Verb::Update])),
        Arc::new(Sample(&WIDGETS, Verb::ALL)),
        Arc::new(Sample(&WIDGET_CHECKS, &[Verb::Create])),
        Arc::new(Sample(&OTHER_PLACES, Verb::ALL)),
    ])
}

/// Namespaces and what is in them.
pub(crate) fn api_with_namespaces() -> Api {
    Api::new(vec![
        Arc::new(Sample(&NAMESPACES, Verb::ALL)),
        Arc::new(Sample(&NAMESPACES_FINALIZE, &[Verb::Update])),
        Arc::new(Sample(&GEARS, &[Verb::Get, Verb::List])),
        Arc::new(Sample(&WIDGETS_STATUS, &[Verb::Get, Verb::Patch, Verb::Update])),
        Arc::new(Sample(&WIDGETS, Verb::ALL)),
    ])
}
