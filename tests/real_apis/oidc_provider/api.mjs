// The API: it takes the provider's access tokens, and may want a fresh sign-in (RFC 9470).

// Whether the path is the API's, and the request is answered.
export async function answerApi(provider, proofs, rows, request, response) {
  const { pathname, searchParams } = new URL(request.url, 'http://api.invalid');
  if (!['/protected-route', '/fresh-route'].includes(pathname)) return false;
  const { token, scheme, error } = await authenticate(provider, proofs, request, pathname);
  const headers = proofs.needNonces ? { 'DPoP-Nonce': proofs.nonce } : {};
  if (error) {
    refuse(response, scheme, error, {}, headers);
  } else if (pathname === '/fresh-route' && !isEnough(token.extra ?? {}, searchParams)) {
    refuse(response, scheme, 'insufficient_user_authentication', Object.fromEntries(searchParams), headers);
  } else {
    send(response, 200, { data: rows }, headers);
  }
  return true;
}

// A token that is bound to a key needs the scheme DPoP and a proof, and any other one the scheme Bearer.
async function authenticate(provider, proofs, request, pathname) {
  const [name, value] = (request.headers.authorization ?? '').split(' ');
  const scheme = name.toLowerCase() === 'dpop' ? 'DPoP' : 'Bearer';
  const isKnown = ['dpop', 'bearer'].includes(name.toLowerCase()) && value;
  const token = isKnown ? await provider.AccessToken.find(value) : undefined;
  if (!token?.isValid || (scheme === 'DPoP') !== Boolean(token.jkt)) return { scheme, error: 'invalid_token' };
  return { token, scheme, error: token.jkt ? await proofs.problem(request, pathname, token, value) : '' };
}

// The query says what the route asks for: max_age, acr_values.
function isEnough({ auth_time: authTime, acr }, query) {
  const isRecent = !query.has('max_age') || Date.now() / 1000 - authTime <= Number(query.get('max_age'));
  return isRecent && (!query.has('acr_values') || query.get('acr_values').split(' ').includes(acr));
}

function refuse(response, scheme, error, parameters, headers) {
  const fields = Object.entries({ error, ...parameters }).map(([name, value]) => `${name}="${value}"`);
  send(response, 401, { error }, { ...headers, 'WWW-Authenticate': `${scheme} ${fields.join(', ')}` });
}

function send(response, status, value, headers) {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(value));
}
