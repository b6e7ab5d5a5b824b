// Signs in, uses the token, refreshes it and signs out with simple-oauth2, which always sends a client secret.
import { ResourceOwnerPassword } from "simple-oauth2";

const { SERVICE_URL: url, NAME: username, PASSWORD: password } = process.env;
const client = new ResourceOwnerPassword({
  client: { id: "todo", secret: "unused" },
  auth: { tokenHost: url, tokenPath: "/v1/auth/token", revokePath: "/v1/auth/revoke" },
});
const told = [];

async function tell(action) {
  try {
    told.push((await action()).token.token_type);
  } catch (error) {
    told.push(error.output.statusCode, error.data.payload.error);
  }
}

const first = await client.getToken({ username, password });
const headers = { Authorization: `Bearer ${first.token.access_token}` };
told.push((await fetch(`${url}/v1/todos`, { headers })).status);
await tell(() => client.getToken({ username, password, scope: ["read", "write"] }));
await tell(() => client.getToken({ username, password: "wrong" }));
await tell(() => client.getToken({ username }));
const second = await first.refresh();
await tell(() => second.refresh());
await tell(() => first.refresh());

const third = await client.getToken({ username, password });
await third.revokeAll();
await tell(() => third.refresh());
console.log(told.join(" "));
