// Six calls with the axios client of openapi-generator.
import { isAxiosError } from "axios";
import { Configuration, SessionsApi, TodosApi, TodoSort, type Problem } from "./client";

async function main(): Promise<void> {
  const basePath = process.env.SERVICE_URL;
  const sessions = new SessionsApi(new Configuration({ basePath }));
  const password = process.env.SERVICE_PASSWORD;
  const tokens = (await sessions.createToken("password", process.env.SERVICE_USER, password)).data;
  const todos = new TodosApi(new Configuration({ basePath, accessToken: tokens.access_token }));

  const created: string[] = [];
  for (const title of ["Water the plants", "Buy seeds", "Rake the leaves"]) {
    created.push((await todos.createTodo({ title, due_at: "2027-01-31T09:00:00Z" })).data.title);
  }

  const list = async (cursor?: string) => {
    const none = undefined;
    const sort = TodoSort.CREATED_AT;
    return (await todos.listTodos(none, none, none, none, none, none, none, none, none, none, none, sort, 2, cursor)).data;
  };
  const first = await list();
  const second = await list(first.next_cursor ?? undefined);

  const id = first.items[0]?.id ?? "";
  let stale: unknown[] = [];
  try {
    await todos.updateTodo(id, { title: "Water all the plants" }, '"99"');
  } catch (error) {
    if (!isAxiosError<Problem>(error)) throw error;
    stale = [error.response?.status, error.response?.data.type];
  }

  const cleared = (await todos.updateTodo(id, { due_at: null })).data;

  const files: Record<string, string> = {};
  const unchanged: Record<string, number> = {};
  for (const format of ["csv", "json", "ics"] as const) {
    // in browsers, `{ responseType: "blob" }` is enough
    const file = await (await todos.exportTodos(format, { adapter: "fetch", responseType: "blob" })).data.text();
    files[format] = file;
    unchanged[format] = (await todos.importTodos(new File([file], "todos"), format)).data.unchanged;
  }

  console.log(
    JSON.stringify({
      "signed in": tokens.token_type,
      created,
      pages: [first.items.length, second.items.length],
      stale,
      cleared: [cleared.title, cleared.due_at === null],
      files,
      unchanged,
    }),
  );
}

void main();
