// Six calls with the Angular client of ng-openapi-gen, outside an Angular application.
import "@angular/compiler";
import {
  createEnvironmentInjector,
  EnvironmentInjector,
  Injector,
  provideZonelessChangeDetection,
  ɵINJECTOR_SCOPE,
} from "@angular/core";
import { HttpClient, HttpErrorResponse, provideHttpClient, withFetch, withInterceptors } from "@angular/common/http";
import { firstValueFrom } from "rxjs";
import {
  createTodo,
  createToken,
  exportTodos$Calendar,
  exportTodos$Csv,
  exportTodos$Json,
  importTodos$Calendar,
  importTodos$Csv,
  importTodos$Json,
  listTodos,
  updateTodo,
} from "./client/functions";
import { Problem } from "./client/models";

const url = process.env.SERVICE_URL ?? "";

function createClient(token?: string): HttpClient {
  const authenticate = withInterceptors([
    (request, next) =>
      next(token === undefined ? request : request.clone({ setHeaders: { Authorization: `Bearer ${token}` } })),
  ]);
  // the services of Angular itself live in the root injector, which an application creates
  const scope = { provide: ɵINJECTOR_SCOPE, useValue: "root" };
  const root = Injector.create({ providers: [] }) as EnvironmentInjector;
  return createEnvironmentInjector([scope, provideZonelessChangeDetection(), provideHttpClient(withFetch(), authenticate)], root).get(HttpClient);
}

async function main(): Promise<void> {
  const form = {
    grant_type: "password",
    username: process.env.SERVICE_USER,
    password: process.env.SERVICE_PASSWORD,
  } as const;
  const tokens = (await firstValueFrom(createToken(createClient(), url, { body: form }))).body;
  const http = createClient(tokens.access_token);

  const created: string[] = [];
  for (const title of ["Water the plants", "Buy seeds", "Rake the leaves"]) {
    const body = { title, due_at: "2027-01-31T09:00:00Z" };
    created.push((await firstValueFrom(createTodo(http, url, { body }))).body.title);
  }

  const query = { sort: "created_at", limit: 2 } as const;
  const first = (await firstValueFrom(listTodos(http, url, query))).body;
  const cursor = first.next_cursor ?? undefined;
  const second = (await firstValueFrom(listTodos(http, url, { ...query, cursor }))).body;

  const todo_id = first.items[0]?.id ?? "";
  let stale: unknown[] = [];
  try {
    await firstValueFrom(updateTodo(http, url, { todo_id, "If-Match": '"99"', body: { title: "Water all the plants" } }));
  } catch (error) {
    if (!(error instanceof HttpErrorResponse)) throw error;
    stale = [error.status, (error.error as Problem).type];
  }

  const cleared = (await firstValueFrom(updateTodo(http, url, { todo_id, body: { due_at: null } }))).body;

  const csv = (await firstValueFrom(exportTodos$Csv(http, url))).body;
  const calendar = (await firstValueFrom(exportTodos$Calendar(http, url))).body;
  const archive = (await firstValueFrom(exportTodos$Json(http, url))).body;
  const reports = {
    csv: (await firstValueFrom(importTodos$Csv(http, url, { body: csv }))).body,
    json: (await firstValueFrom(importTodos$Json(http, url, { body: archive }))).body,
    ics: (await firstValueFrom(importTodos$Calendar(http, url, { body: calendar }))).body,
  };

  console.log(
    JSON.stringify({
      "signed in": tokens.token_type,
      created,
      pages: [first.items.length, second.items.length],
      stale,
      cleared: [cleared.title, cleared.due_at === null],
      files: { csv: await csv.text(), json: JSON.stringify(archive), ics: await calendar.text() },
      unchanged: { csv: reports.csv.unchanged, json: reports.json.unchanged, ics: reports.ics.unchanged },
    }),
  );
}

void main();
