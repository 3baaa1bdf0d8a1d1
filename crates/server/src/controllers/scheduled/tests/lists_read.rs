//! Manifest lists are read once, whatever is started anew.

use super::*;

/// Stores an image of one server at another.
async fn copy_image(from: &Place, to: &Place, name: &str) {
    let found = from.server.context.images.get("", name).await.unwrap().unwrap();
    let mut image = found.object;
    image["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    to.server.store(&to.server.context.images, image).await;
}

#[tokio::test]
async fn a_list_costs_one_reading_and_no_write_to_be_known_also_after_a_start() {
    let platforms = [("linux/arm64", "arm"), ("linux/amd64", "amd")];
    let members =
        platforms.map(|(platform, name)| (platform, Image::new().distinct(name).platform(platform)));
    let registry = TestRegistry::start(Content::new().index("team/app", "v1", members, false));
    let importing = Place::looking(NEVER).await;
    let name = format!("{}/team/app:v1", registry.host());
    importing.import("s", &[("t", &name)], "Legacy").await;
    let stream = importing.stream("s").await;
    assert_eq!(
        newest(&stream),
        registry.content().member_digests("team/app", "v1")[1]
    );
    // A server that has fetched nothing yet finds the stream and its image as the other left them.
    let place = Place::looking(OFTEN).await;
    copy_image(&importing, &place, newest(&stream)).await;
    let mut stored = stream;
    stored["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    place.server.store(&place.server.context.streams, stored).await;
    let before = place.stream("s").await;
    registry.clear_requests();
    let _running = place.control();
    place.looks(4).await;
    assert_eq!(gets(&registry), ["GET /v2/team/app/manifests/v1"]);
    assert_eq!(version(&place.stream("s").await), version(&before));

    // The next one knows.
    let next = Place::looking(OFTEN).await;
    let store = &place.server.context.store;
    let noted = store
        .list("/imagestream/lists/", None, 0, None)
        .await
        .unwrap()
        .items;
    assert_eq!(noted.len(), 1);
    let unused = Write::Put("/imagestream/lists/r.test/a:1".into(), noted[0].value.clone());
    let noted = Write::Put(noted[0].key.clone(), noted[0].value.clone());
    next.server
        .context
        .store
        .commit(&[], &[noted, unused])
        .await
        .unwrap();
    let mut stored = place.stream("s").await;
    copy_image(&place, &next, newest(&stored)).await;
    stored["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    next.server.store(&next.server.context.streams, stored).await;
    registry.clear_requests();
    let _running = next.control();
    next.looks(4).await;
    assert_eq!(gets(&registry), Vec::<String>::new());
    let left = next
        .server
        .context
        .store
        .list("/imagestream/lists/", None, 0, None)
        .await
        .unwrap();
    assert_eq!(left.items.len(), 1, "what nobody follows is forgotten");
}
