// Signs in, uses the token, refreshes it and signs out with oauth4webapi, as a public client.
import * as oauth from "oauth4webapi";

const { SERVICE_URL: url, NAME: username, PASSWORD: password } = process.env;
const server = { issuer: url, token_endpoint: `${url}/v1/auth/token`, revocation_endpoint: `${url}/v1/auth/revoke` };
const client = { client_id: "todo" };
const insecure = { [oauth.allowInsecureRequests]: true };
const told = [];

async function signIn(parameters, authentication = oauth.None()) {
  const form = new URLSearchParams(parameters);
  const response = await oauth.genericTokenEndpointRequest(server, client, authentication, "password", form, insecure);
  return oauth.processGenericTokenEndpointResponse(server, client, response);
}

async function refresh(token) {
  const response = await oauth.refreshTokenGrantRequest(server, client, oauth.None(), token, insecure);
  return oauth.processRefreshTokenResponse(server, client, response);
}

async function tell(action) {
  try {
    told.push((await action()).token_type);
  } catch (error) {
    if (!(error instanceof oauth.ResponseBodyError)) throw error;
    told.push(error.status, error.error);
  }
}

const first = await signIn({ username, password });
const page = new URL(`${url}/v1/todos`);
const used = await oauth.protectedResourceRequest(first.access_token, "GET", page, undefined, undefined, insecure);
told.push(used.status);
await tell(() => signIn({ username, password }, oauth.ClientSecretBasic("unused")));
await tell(() => signIn({ username, password }, oauth.ClientSecretPost("unused")));
await tell(() => signIn({ username, password: "wrong" }));
await tell(() => signIn({ username }));
const second = await refresh(first.refresh_token);
await tell(() => refresh(second.refresh_token));
await tell(() => refresh(first.refresh_token));

const third = await signIn({ username, password });
const revoked = await oauth.revocationRequest(server, client, oauth.None(), third.refresh_token, insecure);
await oauth.processRevocationResponse(revoked);
await tell(() => refresh(third.refresh_token));
console.log(told.join(" "));
