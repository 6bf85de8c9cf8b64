// The API: it takes the provider's access tokens, and may want a fresh sign-in (RFC 9470).

// Whether the path is the API's, and the request is answered.
export async function answerApi(provider, rows, request, response) {
  const { pathname, searchParams } = new URL(request.url, 'http://api.invalid');
  if (!['/protected-route', '/fresh-route'].includes(pathname)) return false;
  const token = await findToken(provider, request);
  if (!token) {
    refuse(response, 'invalid_token', {});
  } else if (pathname === '/fresh-route' && !isEnough(token.extra ?? {}, searchParams)) {
    refuse(response, 'insufficient_user_authentication', Object.fromEntries(searchParams));
  } else {
    send(response, 200, { data: rows });
  }
  return true;
}

async function findToken(provider, request) {
  const [scheme, value] = (request.headers.authorization ?? '').split(' ');
  const token = scheme.toLowerCase() === 'bearer' && value ? await provider.AccessToken.find(value) : undefined;
  return token?.isValid ? token : undefined;
}

// The query says what the route asks for: max_age, acr_values.
function isEnough({ auth_time: authTime, acr }, query) {
  const isRecent = !query.has('max_age') || Date.now() / 1000 - authTime <= Number(query.get('max_age'));
  return isRecent && (!query.has('acr_values') || query.get('acr_values').split(' ').includes(acr));
}

function refuse(response, error, parameters) {
  const fields = Object.entries({ error, ...parameters }).map(([name, value]) => `${name}="${value}"`);
  send(response, 401, { error }, { 'WWW-Authenticate': `Bearer ${fields.join(', ')}` });
}

function send(response, status, value, headers = {}) {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(value));
}
