// How the API checks DPoP proofs (RFC 9449 sections 4.3, 7.1 and 9).

import { createHash, randomBytes } from 'node:crypto';

const ALGORITHMS = ['ES256', 'ES384', 'PS256', 'Ed25519', 'EdDSA'];
const RECENT_SECONDS = 60;

export class Proofs {
  // `jose` is the library; `origin` the address that everybody is told.
  constructor(jose, origin, { needNonces }) {
    this.jose = jose;
    this.origin = origin;
    this.needNonces = needNonces;
    this.seen = new Set();
    this.changeNonce();
  }

  // The nonce before is no longer accepted.
  changeNonce() {
    this.nonce = randomBytes(16).toString('base64url');
  }

  // "" if the request proves that its sender has the key of this access token; else the error code.
  async problem(request, pathname, token, value) {
    const proof = request.headers.dpop;
    if (!proof || proof.includes(',')) return 'invalid_dpop_proof';
    let payload, protectedHeader;
    try {
      const options = { algorithms: ALGORITHMS, typ: 'dpop+jwt' };
      ({ payload, protectedHeader } = await this.jose.jwtVerify(proof, this.jose.EmbeddedJWK, options));
    } catch {
      return 'invalid_dpop_proof';
    }
    const isRight =
      payload.htm === request.method &&
      payload.htu === this.origin + pathname &&
      payload.ath === createHash('sha256').update(value).digest('base64url') &&
      Math.abs(Date.now() / 1000 - payload.iat) <= RECENT_SECONDS &&
      typeof payload.jti === 'string' &&
      !this.seen.has(payload.jti) &&
      (await this.jose.calculateJwkThumbprint(protectedHeader.jwk)) === token.jkt;
    if (!isRight) return 'invalid_dpop_proof';
    if (this.needNonces && payload.nonce !== this.nonce) return 'use_dpop_nonce';
    this.seen.add(payload.jti);
    return '';
  }
}
