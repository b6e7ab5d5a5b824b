// A scenario of one user with the client of @hey-api/openapi-ts.
import assert from "node:assert/strict";
import {
  completeTodo,
  createTodo,
  createToken,
  createUser,
  deleteTodo,
  exportTodos,
  getMe,
  getTodo,
  importTodos,
  listTodos,
  updateTodo,
  type Problem,
  type TodoCreate,
} from "./client";
import { createClient, createConfig } from "./client/client";

type Result<T> = { data?: T; error?: Problem; response?: Response };

const baseUrl = process.env.SERVICE_URL ?? "";
const password = "correct horse battery";
const seen: number[] = [];

function expectData<T>(result: Result<T>, status: number): T {
  assert.equal(result.response?.status, status, JSON.stringify(result.error));
  assert(result.data !== undefined);
  seen.push(status);
  return result.data;
}

function expectProblem(result: Result<unknown>, status: number): Problem {
  assert.equal(result.response?.status, status, JSON.stringify(result.data));
  assert.equal(result.error?.status, status);
  seen.push(status);
  return result.error;
}

const FILES = [
  ["csv", "id,title,"],
  ["json", '{"lists":'],
  ["ics", "BEGIN:VCALENDAR"],
] as const;

async function main(): Promise<void> {
  const anonymous = createClient(createConfig({ baseUrl }));
  const registration = { username: "hey-api", email: "hey-api@example.com", password };
  const user = expectData(await createUser({ client: anonymous, body: registration }), 201);
  const form = { grant_type: "password", username: user.username, password } as const;
  const tokens = expectData(await createToken({ client: anonymous, body: form }), 200);
  const client = createClient(createConfig({ baseUrl, auth: tokens.access_token }));

  const bodies: TodoCreate[] = [
    { title: "Water the plants", due_at: "2027-01-31T09:00:00Z", recurrence: "FREQ=WEEKLY", tags: ["home"] },
    { title: "Buy seeds", start_on: "2027-01-30", due_on: "2027-01-31", time_zone: "Europe/Berlin" },
    { title: "Rake the leaves" },
  ];
  for (const body of bodies) {
    expectData(await createTodo({ client, body }), 201);
  }

  const query = { sort: "created_at", limit: 2 } as const;
  const first = expectData(await listTodos({ client, query }), 200);
  assert(first.next_cursor !== null);
  assert.equal(first.items[1]?.due_on, "2027-01-31");
  const second = expectData(await listTodos({ client, query: { ...query, cursor: first.next_cursor } }), 200);
  assert.equal(second.next_cursor, null);
  const titles = [...first.items, ...second.items].map((todo) => todo.title);
  assert.deepEqual(titles, ["Water the plants", "Buy seeds", "Rake the leaves"]);

  const todo = first.items[0];
  assert(todo !== undefined);
  const path = { todo_id: todo.id };
  const { response } = await getTodo({ client, path });
  const headers = { "If-Match": response?.headers.get("ETag") ?? "" };
  const body = { title: "Water all the plants" };
  const changed = expectData(await updateTodo({ client, path, headers, body }), 200);
  assert.equal(changed.title, "Water all the plants");
  assert.deepEqual([changed.priority, changed.tags], [todo.priority, ["home"]]);
  const stale = expectProblem(await updateTodo({ client, path, headers, body }), 412);
  assert.equal(stale.type, "urn:todo-service:problem:stale");

  const completed = expectData(await completeTodo({ client, path }), 200);
  assert.equal(completed.due_at, "2027-02-07T09:00:00.000Z");
  assert.equal(completed.completed, false);

  const emptied = expectData(await updateTodo({ client, path, body: { due_at: null, recurrence: null } }), 200);
  assert.equal(emptied.due_at, null);
  assert.equal(emptied.title, "Water all the plants");

  const stranger = createClient(createConfig({ baseUrl, auth: "nonsense" }));
  expectProblem(await listTodos({ client: stranger }), 401);
  expectProblem(await getTodo({ client, path: { todo_id: "0".repeat(24) } }), 404);
  expectProblem(await createUser({ client: anonymous, body: registration }), 409);
  const invalid = expectProblem(await createTodo({ client, body: { title: "Never", recurrence: "FREQ=NEVER" } }), 422);
  assert.equal(invalid.errors?.[0]?.pointer, "/recurrence");

  for (const [format, beginning] of FILES) {
    const exported = await exportTodos({ client, query: { format }, parseAs: "blob" });
    const file = expectData(exported, 200);
    assert(file instanceof Blob);
    assert((await file.text()).startsWith(beginning));
    const report = await importTodos({ client, query: { format }, body: file, bodySerializer: null });
    assert.equal(expectData(report, 200).unchanged, 3);
  }

  const gone = await deleteTodo({ client, path });
  assert.equal(gone.response?.status, 204);
  seen.push(204);
  expectProblem(await getTodo({ client, path }), 404);

  let last = await getMe({ client });
  for (let asked = 0; asked < 1000 && last.response?.ok; asked += 1) {
    last = await getMe({ client });
  }
  expectProblem(last, 429);
  assert(Number(last.response?.headers.get("Retry-After")) > 0);
  console.log(seen.join(" "));
}

void main();
