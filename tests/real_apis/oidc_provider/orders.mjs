// What a test can have the provider do.

import { all, records, remove } from './store.mjs';

export function makeOrders(provider, proofs, lives, accountId) {
  const client = {};

  return {
    // Change these fields of the client's registration, and keep the others. null removes a field.
    async set_client(fields) {
      Object.assign(client, fields);
      for (const name of Object.keys(client)) if (client[name] === null) delete client[name];
      records.set(`Client:${client.client_id}`, { ...client });
    },

    async register_redirects(redirectUris, postLogoutRedirectUris) {
      await this.set_client({
        redirect_uris: [...new Set([...(client.redirect_uris ?? []), ...redirectUris])],
        post_logout_redirect_uris: [...new Set([...(client.post_logout_redirect_uris ?? []), ...postLogoutRedirectUris])],
      });
    },

    async set_access_ttl(seconds) {
      lives.access = seconds;
    },

    async change_api_nonce() {
      proofs.changeNonce();
    },

    async expire_access_tokens() {
      remove((model) => model === 'AccessToken');
    },

    async revoke_all() {
      remove((model) => ['AccessToken', 'RefreshToken', 'Grant', 'Session'].includes(model));
    },

    async revoke_refresh_token(value) {
      const { grantId } = await provider.RefreshToken.find(value);
      remove((model, payload) => payload.grantId === grantId);
    },

    // End all sessions of a user at the provider, as its staff would. The provider posts a logout token to each client
    // with a backchannel_logout_uri. Returns one text for each: "" if the client accepted it, else what went wrong.
    async end_sessions(email) {
      const results = [];
      for (const session of all('Session').filter((known) => known.accountId === accountId(email))) {
        for (const [clientId, { sid }] of Object.entries(session.authorizations ?? {})) {
          const known = await provider.Client.find(clientId);
          if (known?.backchannelLogoutUri) {
            results.push(await known.backchannelLogout(session.accountId, sid).then(() => '', (error) => `${error.message} ${error.cause ?? ''}`.trim()));
          }
        }
        remove((model, payload) => model === 'Session' && payload.uid === session.uid);
      }
      return results;
    },
  };
}
