// Six calls with the axios client of orval.
import axios, { isAxiosError } from "axios";
import { createToken, createTodo, exportTodos, importTodos, listTodos, updateTodo, type Problem } from "./client";

async function main(): Promise<void> {
  axios.defaults.baseURL = process.env.SERVICE_URL;
  axios.defaults.adapter = "fetch"; // for files in Node.js
  const tokens = (
    await createToken({
      grant_type: "password",
      username: process.env.SERVICE_USER,
      password: process.env.SERVICE_PASSWORD,
    })
  ).data;
  axios.defaults.headers.common.Authorization = `Bearer ${tokens.access_token}`;

  const created: string[] = [];
  for (const title of ["Water the plants", "Buy seeds", "Rake the leaves"]) {
    created.push((await createTodo({ title, due_at: "2027-01-31T09:00:00Z" })).data.title);
  }

  const first = (await listTodos({ sort: "created_at", limit: 2 })).data;
  const second = (await listTodos({ sort: "created_at", limit: 2, cursor: first.next_cursor ?? undefined })).data;

  const id = first.items[0]?.id ?? "";
  let stale: unknown[] = [];
  try {
    await updateTodo(id, { title: "Water all the plants" }, { headers: { "If-Match": '"99"' } });
  } catch (error) {
    if (!isAxiosError<Problem>(error)) throw error;
    stale = [error.response?.status, error.response?.data.type];
  }

  const cleared = (await updateTodo(id, { due_at: null })).data;

  const files: Record<string, string> = {};
  const unchanged: Record<string, number> = {};
  for (const format of ["csv", "json", "ics"] as const) {
    const file = (await exportTodos({ format }, { responseType: "blob" })).data as Blob;
    files[format] = await file.text();
    unchanged[format] = (await importTodos(file, { format })).data.unchanged;
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
