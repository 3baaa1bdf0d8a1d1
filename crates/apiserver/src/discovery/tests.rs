#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
use super::*;
use crate::negotiation::Encoding;
use crate::protobuf;
use crate::samples::api;

fn get(path: &str, shape: Shape) -> Option<Value> {
    let accepted = Accepted {
        encoding: Encoding::Json,
        shape,
        pretty: false,
    };
    answer(&api(), path, &accepted).map(|found| found.unwrap())
}

#[test]
fn a_version_of_a_group_lists_its_resources_and_their_parts_by_name() {
    let expected = json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "example.com/v1",
        "resources": [
            {
                "name": "widgetchecks",
                "singularName": "widgetcheck",
                "namespaced": true,
                "kind": "WidgetCheck",
                "verbs": ["create"]
            },
            {
                "name": "widgets",
                "singularName": "widget",
                "namespaced": true,
                "kind": "Widget",
                "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
                "shortNames": ["wi"],
                "categories": ["all"],
                "storageVersionHash": "gIwvi5rymmg="
            },
            {
                "name": "widgets/status",
                "singularName": "",
                "namespaced": true,
                "kind": "Widget",
                "verbs": ["get", "patch", "update"]
            }
        ]
    });
    for path in ["/apis/example.com/v1", "/apis/example.com/v1/"] {
        assert_eq!(get(path, Shape::Object).unwrap(), expected);
    }
}

#[test]
fn the_core_group_is_found_under_its_own_path() {
    assert_eq!(
        get("/api", Shape::Object).unwrap(),
        json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
    );
    let list = get("/api/v1", Shape::Object).unwrap();
    assert_eq!(list["groupVersion"], "v1");
    assert_eq!(list["resources"][0]["name"], "places");
}

#[test]
fn groups_keep_the_order_that_clients_are_to_look_at_them_in() {
    let version = |group: &str| json!({"groupVersion": format!("{group}/v1"), "version": "v1"});
    let group =
        |name: &str| json!({"name": name, "versions": [version(name)], "preferredVersion": version(name)});
    assert_eq!(
        get("/apis", Shape::Object).unwrap(),
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group("example.com"), group("an.example.com")]})
    );
    let mut alone = group("example.com");
    alone["kind"] = "APIGroup".into();
    alone["apiVersion"] = "v1".into();
    assert_eq!(get("/apis/example.com/", Shape::Object).unwrap(), alone);
}

#[test]
fn everything_is_listed_at_once_for_who_asks_so() {
    let all = get("/apis", Shape::Discovery(DiscoveryVersion::V2)).unwrap();
    assert_eq!(all["apiVersion"], "apidiscovery.k8s.io/v2");
    assert_eq!(
        all["items"][0],
        json!({
            "metadata": {"name": "example.com"},
            "versions": [{
                "version": "v1",
                "freshness": "Current",
                "resources": [
                    {
                        "resource": "widgetchecks",
                        "responseKind": {"group": "", "version": "", "kind": "WidgetCheck"},
                        "scope": "Namespaced",
                        "singularResource": "widgetcheck",
                        "verbs": ["create"]
                    },
                    {
                        "resource": "widgets",
                        "responseKind": {"group": "", "version": "", "kind": "Widget"},
                        "scope": "Namespaced",
                        "singularResource": "widget",
                        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
                        "shortNames": ["wi"],
                        "categories": ["all"],
                        "subresources": [{
                            "subresource": "status",
                            "responseKind": {"group": "", "version": "", "kind": "Widget"},
                            "verbs": ["get", "patch", "update"]
                        }]
                    }
                ]
            }]
        })
    );
    let core = get("/api", Shape::Discovery(DiscoveryVersion::V2Beta1)).unwrap();
    assert_eq!(core["apiVersion"], "apidiscovery.k8s.io/v2beta1");
    assert_eq!(core["items"][0]["metadata"], json!({}));
    assert_eq!(
        core["items"][0]["versions"][0]["resources"][0]["scope"],
        "Cluster"
    );
}

#[test]
fn other_paths_are_none_of_discovery() {
    for path in [
        "",
        "/",
        "/api/v2",
        "/api/v1/places",
        "/apis/none.example.com",
        "/apis/example.com/v2",
        "/apis//v1",
        "/apis//",
        "//apis",
        "/healthz",
    ] {
        assert_eq!(get(path, Shape::Object), None, "{path}");
    }
}

#[test]
fn a_list_of_resources_has_a_schema() {
    let document = get("/apis/example.com/v1", Shape::Object).unwrap();
    let schema = crate::schema::discovery::document(document["kind"].as_str().unwrap()).unwrap();
    for (key, _) in document.as_object().unwrap() {
        assert!(schema.field(key).is_some(), "{key}");
    }
}

#[test]
fn everything_at_once_has_a_form_in_protobuf() {
    let document = get("/apis", Shape::Discovery(DiscoveryVersion::V2)).unwrap();
    let schema = crate::schema::discovery::document(document["kind"].as_str().unwrap()).unwrap();
    let encoded = protobuf::object(&document, schema);
    let read = protobuf::Envelope::open(&encoded).unwrap();
    assert_eq!(
        (read.kind.as_str(), read.api_version.as_str()),
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    );
    let read = read.read(schema).unwrap();
    let widgets = |document: &Value| {
        let groups = document["items"].as_array().unwrap();
        let group = groups
            .iter()
            .find(|group| group["metadata"]["name"] == "example.com");
        let resources = &group.unwrap()["versions"][0]["resources"];
        let named = resources
            .as_array()
            .unwrap()
            .iter()
            .find(|found| found["resource"] == "widgets");
        let mut widgets = named.unwrap().clone();
        // Texts that are empty are not there when protobuf is read.
        for kind in [
            &mut widgets["responseKind"].take(),
            &mut widgets["subresources"][0]["responseKind"].take(),
        ] {
            assert_eq!(kind["kind"], "Widget");
        }
        widgets
    };
    assert_eq!(widgets(&read), widgets(&document));
}
