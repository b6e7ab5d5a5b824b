// Six calls with the fetch client of openapi-generator.
import { Configuration, ResponseError, SessionsApi, TodosApi, TodoSort, type Problem } from "./client";

async function main(): Promise<void> {
  const basePath = process.env.SERVICE_URL;
  const tokens = await new SessionsApi(new Configuration({ basePath })).createToken({
    grantType: "password",
    username: process.env.SERVICE_USER,
    password: process.env.SERVICE_PASSWORD,
  });
  const todos = new TodosApi(new Configuration({ basePath, accessToken: tokens.accessToken }));

  const created: string[] = [];
  for (const title of ["Water the plants", "Buy seeds", "Rake the leaves"]) {
    const todoCreate = { title, dueAt: new Date("2027-01-31T09:00:00Z") };
    created.push((await todos.createTodo({ todoCreate })).title);
  }

  const first = await todos.listTodos({ sort: TodoSort.CREATED_AT, limit: 2 });
  const second = await todos.listTodos({ sort: TodoSort.CREATED_AT, limit: 2, cursor: first.nextCursor ?? undefined });

  const todoId = first.items[0]?.id ?? "";
  let stale: unknown[] = [];
  try {
    await todos.updateTodo({ todoId, todoUpdate: { title: "Water all the plants" }, ifMatch: '"99"' });
  } catch (error) {
    if (!(error instanceof ResponseError)) throw error;
    const problem = (await error.response.json()) as Problem;
    stale = [error.response.status, problem.type];
  }

  const cleared = await todos.updateTodo({ todoId, todoUpdate: { dueAt: null } });

  const files: Record<string, string> = {};
  const unchanged: Record<string, number> = {};
  for (const format of ["csv", "json", "ics"] as const) {
    const file = await todos.exportTodos({ format });
    files[format] = await file.text();
    unchanged[format] = (await todos.importTodos({ format, body: file })).unchanged;
  }

  console.log(
    JSON.stringify({
      "signed in": tokens.tokenType,
      created,
      pages: [first.items.length, second.items.length],
      stale,
      cleared: [cleared.title, cleared.dueAt === null],
      files,
      unchanged,
    }),
  );
}

void main();
