// Six calls with the Java client of openapi-generator.
import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.databind.JsonSerializer;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializerProvider;
import com.fasterxml.jackson.databind.module.SimpleModule;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.SessionsApi;
import org.openapitools.client.api.TodosApi;
import org.openapitools.client.model.Problem;
import org.openapitools.client.model.Todo;
import org.openapitools.client.model.TodoCreate;
import org.openapitools.client.model.TodoPage;
import org.openapitools.client.model.TodoSort;
import org.openapitools.client.model.TodoUpdate;
import org.openapitools.client.model.TokenPair;

public class SixCalls {
  /** Sends `due_at` if it is null: without jackson-databind-nullable, null fields are left out. */
  abstract static class ClearDue {
    @JsonInclude(JsonInclude.Include.ALWAYS)
    abstract OffsetDateTime getDueAt();
  }

  /** Sends the content of a file: without it, the client sends its path. */
  static class FileContent extends JsonSerializer<File> {
    @Override
    public void serialize(File file, JsonGenerator json, SerializerProvider provider) throws IOException {
      json.writeRawValue(Files.readString(file.toPath()));
    }
  }

  static ApiClient createClient(String token) {
    ApiClient client = new ApiClient();
    client.updateBaseUri(System.getenv("SERVICE_URL"));
    if (token != null) {
      client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + token));
    }
    return client;
  }

  static TodoPage list(TodosApi todos, String cursor) throws ApiException {
    return todos.listTodos(
        null, null, null, null, null, null, null, null, null, null, null, TodoSort.CREATED_AT, 2, cursor);
  }

  public static void main(String[] arguments) throws Exception {
    TokenPair tokens = new SessionsApi(createClient(null))
        .createToken("password", System.getenv("SERVICE_USER"), System.getenv("SERVICE_PASSWORD"), null);
    ApiClient client = createClient(tokens.getAccessToken());
    ObjectMapper mapper = ApiClient.createDefaultObjectMapper()
        .registerModule(new SimpleModule().addSerializer(File.class, new FileContent()));
    client.setObjectMapper(mapper);
    TodosApi todos = new TodosApi(client);

    OffsetDateTime due = OffsetDateTime.parse("2027-01-31T09:00:00Z");
    List<String> created = new ArrayList<>();
    for (String title : List.of("Water the plants", "Buy seeds", "Rake the leaves")) {
      created.add(todos.createTodo(new TodoCreate().title(title).dueAt(due), null).getTitle());
    }

    TodoPage first = list(todos, null);
    TodoPage second = list(todos, first.getNextCursor());

    String id = first.getItems().get(0).getId();
    List<Object> stale = new ArrayList<>();
    try {
      todos.updateTodo(id, new TodoUpdate().title("Water all the plants"), "\"99\"", null);
    } catch (ApiException error) {
      stale.add(error.getCode());
      stale.add(mapper.readValue(error.getResponseBody(), Problem.class).getType());
    }

    ApiClient clearing = createClient(tokens.getAccessToken());
    clearing.setObjectMapper(ApiClient.createDefaultObjectMapper().addMixIn(TodoUpdate.class, ClearDue.class));
    Todo cleared = new TodosApi(clearing).updateTodo(id, new TodoUpdate(), null, null);

    Map<String, String> files = new HashMap<>();
    Map<String, Integer> unchanged = new HashMap<>();
    for (String format : List.of("csv", "json", "ics")) {
      File file = todos.exportTodos(format);
      files.put(format, Files.readString(file.toPath()));
      unchanged.put(format, todos.importTodos(file, format, null, null, null).getUnchanged());
    }

    System.out.println(mapper.writeValueAsString(Map.of(
        "signed in", tokens.getTokenType(),
        "created", created,
        "pages", List.of(first.getItems().size(), second.getItems().size()),
        "stale", stale,
        "cleared", List.of(cleared.getTitle(), cleared.getDueAt() == null),
        "files", files,
        "unchanged", unchanged)));
  }
}
