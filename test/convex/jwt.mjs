// customJwt providers: crates/authentication/src/lib.rs validate_id_token, crates/common/src/auth.rs, and
// its JWT library, biscuit (src/lib.rs RegisteredClaims, src/jws/compact.rs decode_with_jwks)
import { createPublicKey, createSign, generateKeyPairSync, verify } from "node:crypto";
const un = (s) => Buffer.from(s, "base64url");
export class Unauthenticated extends Error { constructor(code, msg) { super(msg); this.code = code; } }
const bad = (msg, code = "InvalidAuthHeader") => { throw new Unauthenticated(code, msg); };
const proto = (s) => (/^https?:\/\//.test(s) ? s : `https://${s}`).replace(/\/+$/, "");

const text = (v) => v === undefined || v === null || typeof v === "string";
const seconds = (v) => v === undefined || v === null || Number.isSafeInteger(v);
/** The claims that the backend's JWT library (biscuit) knows, with the types it parses; null counts as absent. */
function registered(payload) {
  if (payload === null || typeof payload !== "object" || Array.isArray(payload)) throw 0;
  const { iss, sub, jti, aud, exp, nbf, iat } = payload;
  if (![iss, sub, jti].every(text) || ![exp, nbf, iat].every(seconds)) throw 0;
  if (!(text(aud) || (Array.isArray(aud) && aud.every((a) => typeof a === "string")))) throw 0;
  return { iss: iss ?? undefined, sub: sub ?? undefined, exp: exp ?? undefined, nbf: nbf ?? undefined, iat: iat ?? undefined, audiences: aud == null ? [] : [aud].flat() };
}

/** Whether the signature is good: the key is found by `kid`; header, key and provider must agree on the algorithm. */
function signed(parts, header, jwks, algorithm) {
  const jwk = jwks.keys.find((k) => typeof header.kid === "string" && k.kid === header.kid);
  if (!jwk || header.alg !== algorithm || (jwk.alg !== undefined && jwk.alg !== algorithm)) return false;
  const key = createPublicKey({ key: jwk, format: "jwk" });
  const data = Buffer.from(`${parts[0]}.${parts[1]}`), { modulusLength, namedCurve } = key.asymmetricKeyDetails;
  if (algorithm === "RS256") return modulusLength >= 2048 && modulusLength <= 8192 && verify("sha256", data, key, un(parts[2]));
  return algorithm === "ES256" && namedCurve === "prime256v1" && verify("sha256", data, { key, dsaEncoding: "ieee-p1363" }, un(parts[2]));
}

const NOT_PARSED = "Could not parse JWT payload. Check that the token is a valid JWT format with three base64-encoded parts separated by dots.";
const LEEWAY_S = 5;

/** providers: the `providers` array of convex/auth.config.ts. Returns UserIdentity attributes. */
export function validate(token, providers, nowS = Date.now() / 1000, redact = false) {
  const parts = token.split(".");
  let payload, claims, header;
  try { if (parts.length !== 3) throw 0; payload = JSON.parse(un(parts[1])); claims = registered(payload); header = JSON.parse(un(parts[0])) ?? {}; }
  catch { bad(NOT_PARSED); }
  if (claims.iss === undefined) bad("Missing issuer claim ('iss') in JWT payload. The JWT must include an 'iss' claim that matches one of your configured auth providers.");
  const p = providers.find((x) => (x.applicationID === undefined || claims.audiences.includes(x.applicationID)) && proto(x.issuer ?? x.domain) === proto(claims.iss));
  if (!p) {
    if (redact) bad("No auth provider found matching the given token", "NoAuthProvider");
    if (!providers.length) bad("No auth provider found matching the given token (no providers configured). Check convex/auth.config.ts.", "NoAuthProvider");
    bad(`No auth provider found matching the given token. Check that your JWT's issuer and audience match one of your configured providers: [${providers.map((x) => x.type === "customJwt" ? `CustomJWT(issuer=${x.issuer}, app_id=${x.applicationID ?? "none"})` : `OIDC(domain=${x.domain}, app_id=${x.applicationID})`).join(", ")}]`, "NoAuthProvider");
  }
  if (p.type !== "customJwt") bad(`Auth provider discovery of ${claims.iss} failed`, "AuthProviderDiscoveryFailed"); // no outbound network here
  let jwks;
  try { const m = /^data:[^,]*?(;base64)?,(.*)$/s.exec(p.jwks); jwks = JSON.parse(m[1] ? Buffer.from(m[2], "base64").toString() : decodeURIComponent(m[2])); }
  catch { bad(`Invalid JWKS response body from '${p.jwks}'. The response is not valid JSON or doesn't match the expected JWKS format.`); }
  if (!signed(parts, header, jwks, p.algorithm)) bad(typeof header.kid === "string" ? `Could not decode token. The JWT's 'kid' (key ID) header is '${header.kid}', does this key match any key in the provider's JWKS?` : "Could not decode token. JWT may be missing a 'kid' (key ID) header.");
  const now = Math.floor(nowS);
  if (claims.exp !== undefined && now - claims.exp > LEEWAY_S) bad("Could not validate token: Token expired");
  if (claims.nbf !== undefined && claims.nbf - now > LEEWAY_S) bad("Could not validate token: Token is not valid yet");
  if (claims.iat !== undefined && claims.iat - now > LEEWAY_S) bad("Could not validate token: Token is not valid yet");
  if (claims.sub === undefined || claims.exp === undefined) bad("Could not verify token claim. Check that the JWT contains valid claims and matches your auth provider configuration.");
  const { iss, sub, aud, exp, iat, nbf, jti, fva, ...custom } = payload; // fva: left out by the backend, too
  // As in the backend (sync_types/src/types/json.rs), a claim called "issuer" or "subject" hides the real one.
  return { issuer: iss, subject: sub, tokenIdentifier: `${iss}|${sub}`, ...flat(custom) };
}
/** Nested claims are named by their path: {"a": {"b": 1}} is the claim "a.b" (keybroker/src/broker.rs). */
function flat(claims, path = "") {
  const nested = (v) => v !== null && typeof v === "object" && !Array.isArray(v);
  return Object.assign({}, ...Object.entries(claims).map(([k, v]) => (nested(v) ? flat(v, `${path}${k}.`) : { [path + k]: v })));
}

/** A throw-away issuer: {provider, sign(claims, header?)}. */
export function makeIssuer({ issuer = "https://issuer.standin.test", applicationID = "standin-app", algorithm = "RS256", kid = "k1", modulusLength = 2048 } = {}) {
  const { publicKey, privateKey } = algorithm === "RS256" ? generateKeyPairSync("rsa", { modulusLength }) : generateKeyPairSync("ec", { namedCurve: "P-256" });
  const jwks = { keys: [{ ...publicKey.export({ format: "jwk" }), kid, alg: algorithm, use: "sig" }] };
  return {
    provider: { type: "customJwt", issuer, applicationID, algorithm, jwks: `data:application/json;base64,${Buffer.from(JSON.stringify(jwks)).toString("base64")}` },
    sign(claims = {}, header = {}) {
      const now = Math.floor(Date.now() / 1000);
      const h = Buffer.from(JSON.stringify({ alg: algorithm, typ: "JWT", kid, ...header })).toString("base64url");
      const b = Buffer.from(JSON.stringify({ iss: issuer, aud: applicationID, sub: "1", iat: now, exp: now + 3600, ...claims })).toString("base64url");
      const s = createSign("sha256").update(`${h}.${b}`);
      return `${h}.${b}.${s.sign(algorithm === "RS256" ? privateKey : { key: privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
    },
  };
}
