"""What scripts/schemathesis asks of every answer; read by schemathesis itself."""
import schemathesis

# 500 is what the original answers here, and clients see the same.
AS_THE_ORIGINAL = (
    "json: cannot unmarshal",  # the body of a DELETE, of other types than it should have
    "resourceVersion: Invalid value",
    "strconv.ParseUint",
)


@schemathesis.check
def no_failing_server(ctx, response, case):
    """No answer says that the server failed."""
    if response.status_code >= 500 and not any(text in response.text for text in AS_THE_ORIGINAL):
        raise AssertionError(f"{response.status_code}: {response.text[:500]}")


@schemathesis.hook
def map_query(ctx, query):
    """A watch without an end would be waited for."""
    if query and "watch" in query:
        query["timeoutSeconds"] = "1"
    return query
