// A scenario of one user with openapi-fetch and the types of openapi-typescript.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

type Problem = components["schemas"]["Problem"];
type Result<T> = { data?: T; error?: Problem; response: Response };

const baseUrl = process.env.SERVICE_URL ?? "";
const password = "correct horse battery";
const seen: number[] = [];

function expectData<T>(result: Result<T>, status: number): T {
  assert.equal(result.response.status, status, JSON.stringify(result.error));
  assert(result.data !== undefined);
  seen.push(status);
  return result.data;
}

function expectProblem(result: Result<unknown>, status: number): Problem {
  assert.equal(result.response.status, status, JSON.stringify(result.data));
  assert.equal(result.error?.status, status);
  seen.push(status);
  return result.error;
}

const FILES = [
  ["csv", "text/csv", "id,title,"],
  ["json", "application/json", '{"lists":'],
  ["ics", "text/calendar", "BEGIN:VCALENDAR"],
] as const;

async function main(): Promise<void> {
  const anonymous = createClient<paths>({ baseUrl });
  const registration = { username: "fetch", email: "fetch@example.com", password };
  const user = expectData(await anonymous.POST("/v1/users", { body: registration }), 201);
  const tokens = expectData(
    await anonymous.POST("/v1/auth/token", {
      body: { grant_type: "password", username: user.username, password },
      headers: { "Content-Type": "application/x-www-form-urlencoded" },
    }),
    200,
  );
  const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${tokens.access_token}` } });

  const bodies: components["schemas"]["TodoCreate"][] = [
    { title: "Water the plants", due_at: "2027-01-31T09:00:00Z", recurrence: "FREQ=WEEKLY", tags: ["home"] },
    { title: "Buy seeds", start_on: "2027-01-30", due_on: "2027-01-31", time_zone: "Europe/Berlin" },
    { title: "Rake the leaves" },
  ];
  for (const body of bodies) {
    expectData(await client.POST("/v1/todos", { body }), 201);
  }

  const query = { sort: "created_at", limit: 2 } as const;
  const first = expectData(await client.GET("/v1/todos", { params: { query } }), 200);
  assert(first.next_cursor !== null);
  assert.equal(first.items[1]?.due_on, "2027-01-31");
  const further = { ...query, cursor: first.next_cursor };
  const second = expectData(await client.GET("/v1/todos", { params: { query: further } }), 200);
  assert.equal(second.next_cursor, null);
  const titles = [...first.items, ...second.items].map((todo) => todo.title);
  assert.deepEqual(titles, ["Water the plants", "Buy seeds", "Rake the leaves"]);

  const todo = first.items[0];
  assert(todo !== undefined);
  const path = { todo_id: todo.id };
  const { response } = await client.GET("/v1/todos/{todo_id}", { params: { path } });
  const header = { "If-Match": response.headers.get("ETag") ?? "" };
  const patch = { params: { path, header }, body: { title: "Water all the plants" } };
  const changed = expectData(await client.PATCH("/v1/todos/{todo_id}", patch), 200);
  assert.equal(changed.title, "Water all the plants");
  assert.deepEqual([changed.priority, changed.tags], [todo.priority, ["home"]]);
  const stale = expectProblem(await client.PATCH("/v1/todos/{todo_id}", patch), 412);
  assert.equal(stale.type, "urn:todo-service:problem:stale");

  const completed = expectData(await client.POST("/v1/todos/{todo_id}/complete", { params: { path } }), 200);
  assert.equal(completed.due_at, "2027-02-07T09:00:00.000Z");
  assert.equal(completed.completed, false);

  const clearing = { params: { path }, body: { due_at: null, recurrence: null } };
  const emptied = expectData(await client.PATCH("/v1/todos/{todo_id}", clearing), 200);
  assert.equal(emptied.due_at, null);
  assert.equal(emptied.title, "Water all the plants");

  const stranger = createClient<paths>({ baseUrl, headers: { Authorization: "Bearer nonsense" } });
  expectProblem(await stranger.GET("/v1/todos"), 401);
  expectProblem(await client.GET("/v1/todos/{todo_id}", { params: { path: { todo_id: "0".repeat(24) } } }), 404);
  expectProblem(await anonymous.POST("/v1/users", { body: registration }), 409);
  const never = { title: "Never", recurrence: "FREQ=NEVER" };
  const invalid = expectProblem(await client.POST("/v1/todos", { body: never }), 422);
  assert.equal(invalid.errors?.[0]?.pointer, "/recurrence");

  for (const [format, type, beginning] of FILES) {
    const exported = await client.GET("/v1/todos/export", { params: { query: { format } }, parseAs: "text" });
    const file = expectData(exported, 200);
    assert(typeof file === "string" && file.startsWith(beginning));
    const report = await client.POST("/v1/todos/import", {
      headers: { "Content-Type": type },
      body: file,
      bodySerializer: (text) => text,
    });
    assert.equal(expectData(report, 200).unchanged, 3);
  }

  const gone = await client.DELETE("/v1/todos/{todo_id}", { params: { path } });
  assert.equal(gone.response.status, 204);
  seen.push(204);
  expectProblem(await client.GET("/v1/todos/{todo_id}", { params: { path } }), 404);

  let last = await client.GET("/v1/users/me");
  for (let asked = 0; asked < 1000 && last.response.ok; asked += 1) {
    last = await client.GET("/v1/users/me");
  }
  expectProblem(last, 429);
  assert(Number(last.response.headers.get("Retry-After")) > 0);
  console.log(seen.join(" "));
}

void main();
