// oidc-provider on a free port of 127.0.0.1, and an API that takes its access tokens, until the end of standard input.
//
// node main.mjs <folder with node_modules> <configuration as JSON>. Standard input and output are those of
// tests/real_apis/serving.py: the first line of output says the port; each line of input is an order of orders.mjs.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

import { answerApi } from './api.mjs';
import { makeOrders } from './orders.mjs';
import { consentPage, signInPage, signOutPage } from './pages.mjs';
import { Proofs } from './proofs.mjs';
import { Adapter } from './store.mjs';

console.info = () => {}; // standard output is for the answers to orders
const [folder, text] = process.argv.slice(2);
const options = JSON.parse(text);
const lives = { access: options.access_ttl, refresh: options.refresh_ttl };
URL.parse ??= (text) => (URL.canParse(text) ? new URL(text) : null); // before node 22
const load = (name) => import(pathToFileURL(createRequire(`${folder}/`).resolve(name)));
const { Provider, interactionPolicy } = await load('oidc-provider');
const proofs = new Proofs(await load('jose'), options.issuer, { needNonces: options.dpop_nonces });

const policy = interactionPolicy.base();
policy.get('login').checks.add(
  new interactionPolicy.Check('acr', 'another kind of sign-in is wanted', (ctx) => {
    const wanted = ctx.oidc.params.acr_values?.split(' ') ?? [];
    return wanted.length > 0 && !wanted.includes(ctx.oidc.session.acr) && !ctx.oidc.result?.login;
  }),
);

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const provider = new Provider(options.issuer, {
  acrValues: ['password', 'second-factor'],
  adapter: Adapter,
  claims: { openid: ['sub'], profile: ['name'], email: ['email'] },
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  clockTolerance: 0,
  cookies: { keys: [randomBytes(32).toString('hex')] },
  // What an API needs to ask for a fresh sign-in (RFC 9470).
  extraTokenClaims: (ctx) => {
    const { AuthorizationCode: code, RefreshToken: token } = ctx.oidc.entities;
    return { auth_time: (code ?? token)?.authTime, acr: (code ?? token)?.acr };
  },
  features: {
    backchannelLogout: { enabled: true },
    devInteractions: { enabled: false },
    dPoP: { enabled: options.dpop, nonceSecret: randomBytes(32), requireNonce: () => options.dpop_nonces },
    fapi: { enabled: options.fapi, profile: '2.0' },
    introspection: { enabled: true },
    pushedAuthorizationRequests: { enabled: options.par !== 'absent' },
    revocation: { enabled: true },
    rpInitiatedLogout: {
      enabled: true,
      logoutSource: (ctx, form) => {
        ctx.body = signOutPage(form);
      },
    },
  },
  // Without the dispatcher that refuses addresses of this machine.
  fetch: (url, { dispatcher, ...request }) => globalThis.fetch(url, request),
  findAccount: (ctx, id) => findAccount(id),
  interactions: { policy, url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  issueRefreshToken: () => true,
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'provider-key', use: 'sig', alg: 'ES256' }] },
  loadExistingGrant,
  pkce: { required: () => true },
  rotateRefreshToken: true,
  scopes: ['openid', 'offline_access', 'read'],
  ttl: {
    AccessToken: () => lives.access,
    Grant: 86400,
    IdToken: 600,
    Interaction: 600,
    RefreshToken: () => lives.refresh,
    Session: 86400,
  },
});
provider.on('server_error', (ctx, error) => console.error(error));

function findAccount(id) {
  const email = Object.keys(options.users).find((known) => accountId(known) === id);
  if (!email) return undefined;
  const name = email[0].toUpperCase() + email.slice(1).split('@')[0];
  return { accountId: id, claims: () => ({ sub: id, name, email }) };
}

function accountId(email) {
  return `user-${email.split('@')[0]}`;
}

// Nobody is asked for consent, except with prompt=consent.
async function loadExistingGrant(ctx) {
  const { client, result, session } = ctx.oidc;
  const known = result?.consent?.grantId ?? session.grantIdFor(client.clientId);
  if (known) return provider.Grant.find(known);
  return makeGrant(session.accountId, client.clientId, ctx.oidc.params.scope);
}

async function makeGrant(accountOfUser, clientId, scope) {
  const grant = new provider.Grant({ accountId: accountOfUser, clientId });
  grant.addOIDCScope(scope);
  await grant.save();
  return grant;
}

async function interact(request, response) {
  const { params, prompt, session } = await provider.interactionDetails(request, response);
  const isSignIn = prompt.name === 'login';
  if (request.method !== 'POST') {
    return sendPage(response, isSignIn ? signInPage(params) : consentPage());
  }
  const form = new URLSearchParams(await read(request));
  const finish = (result) => provider.interactionFinished(request, response, result);
  if (!form.has('allow')) return finish({ error: 'access_denied', error_description: 'The user pressed Cancel.' });
  if (!isSignIn) {
    const grant = await makeGrant(session.accountId, params.client_id, params.scope);
    return finish({ consent: { grantId: grant.jti } });
  }
  const email = form.get('username');
  if (!Object.hasOwn(options.users, email) || options.users[email] !== form.get('password')) {
    return sendPage(response, signInPage(params));
  }
  const acr = params.acr_values?.split(' ')[0] ?? 'password';
  return finish({ login: { accountId: accountId(email), acr, amr: ['pwd'] } });
}

function sendPage(response, body) {
  response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Cache-Control': 'no-store' }).end(body);
}

async function read(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

const handleByProvider = provider.callback();
const server = createServer(async (request, response) => {
  try {
    if (request.url.startsWith('/interaction/')) await interact(request, response);
    else if (!(await answerApi(provider, proofs, options.rows, request, response))) handleByProvider(request, response);
  } catch (error) {
    console.error(error);
    response.writeHead(400).end();
  }
});

const say = (value) => process.stdout.write(`${JSON.stringify(value ?? null)}\n`);
const orders = makeOrders(provider, proofs, lives, accountId);
await orders.set_client(options.client);
server.listen(0, '127.0.0.1', () => say({ port: server.address().port }));
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...values] = JSON.parse(line);
  say(await orders[name](...values));
}
process.exit(0);
