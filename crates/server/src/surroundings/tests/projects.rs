use super::*;

const PROJECTS: &str = "/apis/project.openshift.io/v1/projects";

#[tokio::test]
async fn pages_of_projects_name_no_namespace_that_their_reader_does_not_see() {
    let server = TestServer::surrounded().await;
    for name in ["m", "mine", "n"] {
        make_namespace(&server, name).await;
    }
    server.grant(
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: lists}, rules: [\
         {apiGroups: [project.openshift.io], resources: [projects], verbs: [list]}]}\n---\n\
         {apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: sees, namespace: mine}, rules: [\
         {apiGroups: [''], resources: [namespaces], verbs: [get]}]}\n---\n\
         {apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: lists}, \
         roleRef: {kind: ClusterRole, name: lists}, subjects: [{kind: User, name: ann}]}\n---\n\
         {apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: sees, namespace: mine}, \
         roleRef: {kind: Role, name: sees}, subjects: [{kind: User, name: ann}]}",
    );
    for query in ["", "?limit=1", "?limit=2"] {
        let (code, list) = server
            .send("ann", "GET", &format!("{PROJECTS}{query}"), None)
            .await;
        assert_eq!(code, 200, "{list}");
        let names: Vec<&str> = list["items"].as_array().unwrap().iter().map(name).collect();
        assert_eq!(names, ["mine"], "{query}");
        let metadata = list["metadata"].as_object().unwrap();
        assert_eq!(Vec::from_iter(metadata.keys()), ["resourceVersion"], "{query}");
    }
}
