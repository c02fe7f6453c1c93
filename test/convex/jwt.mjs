// customJwt providers: crates/authentication/src/lib.rs validate_id_token, crates/common/src/auth.rs
import { createPublicKey, createPrivateKey, createSign, generateKeyPairSync, verify } from "node:crypto";
const un = (s) => Buffer.from(s, "base64url");
export class Unauthenticated extends Error { constructor(code, msg) { super(msg); this.code = code; } }
const bad = (msg, code = "InvalidAuthHeader") => { throw new Unauthenticated(code, msg); };
const proto = (s) => (/^https?:\/\//.test(s) ? s : `https://${s}`).replace(/\/+$/, "");

/** providers: the `providers` array of convex/auth.config.ts. Returns UserIdentity attributes. */
export function validate(token, providers, nowS = Date.now() / 1000, redact = false) {
  const parts = token.split(".");
  let payload, header;
  try { if (parts.length !== 3) throw 0; payload = JSON.parse(un(parts[1])); header = JSON.parse(un(parts[0])); }
  catch { bad("Could not parse JWT payload. Check that the token is a valid JWT format with three base64-encoded parts separated by dots."); }
  if (!payload.iss) bad("Missing issuer claim ('iss') in JWT payload. The JWT must include an 'iss' claim that matches one of your configured auth providers.");
  const auds = payload.aud === undefined ? [] : Array.isArray(payload.aud) ? payload.aud : [payload.aud];
  const p = providers.find((x) => (x.applicationID === undefined || auds.includes(x.applicationID)) && proto(x.issuer ?? x.domain) === proto(payload.iss));
  if (!p) {
    if (redact) bad("No auth provider found matching the given token", "NoAuthProvider");
    if (!providers.length) bad("No auth provider found matching the given token (no providers configured). Check convex/auth.config.ts.", "NoAuthProvider");
    bad(`No auth provider found matching the given token. Check that your JWT's issuer and audience match one of your configured providers: [${providers.map((x) => x.type === "customJwt" ? `CustomJWT(issuer=${x.issuer}, app_id=${x.applicationID ?? "none"})` : `OIDC(domain=${x.domain}, app_id=${x.applicationID})`).join(", ")}]`, "NoAuthProvider");
  }
  if (p.type !== "customJwt") bad(`Auth provider discovery of ${payload.iss} failed`, "AuthProviderDiscoveryFailed"); // no outbound network here
  let jwks;
  try { const m = /^data:[^,]*?(;base64)?,(.*)$/s.exec(p.jwks); jwks = JSON.parse(m[1] ? Buffer.from(m[2], "base64").toString() : decodeURIComponent(m[2])); }
  catch { bad(`Invalid JWKS response body from '${p.jwks}'. The response is not valid JSON or doesn't match the expected JWKS format.`); }
  const jwk = jwks.keys.find((k) => k.kid !== undefined && k.kid === header.kid);
  const alg = p.algorithm;
  let ok = false;
  if (jwk && header.alg === alg) {
    const key = createPublicKey({ key: jwk, format: "jwk" });
    const data = Buffer.from(`${parts[0]}.${parts[1]}`);
    ok = alg === "RS256" ? verify("sha256", data, key, un(parts[2])) : verify("sha256", data, { key, dsaEncoding: "ieee-p1363" }, un(parts[2]));
  }
  if (!ok) bad(header.kid !== undefined ? `Could not decode token. The JWT's 'kid' (key ID) header is '${header.kid}', does this key match any key in the provider's JWKS?` : "Could not decode token. JWT may be missing a 'kid' (key ID) header.");
  if (payload.exp !== undefined && nowS > payload.exp + 5) bad("Could not validate token: Token expired");
  if (payload.nbf !== undefined && nowS < payload.nbf - 5) bad("Could not validate token: Token is not valid yet");
  if (!payload.sub || payload.exp === undefined) bad("Could not verify token claim. Check that the JWT contains valid claims and matches your auth provider configuration.");
  const { iss, sub, aud, exp, iat, nbf, jti, ...claims } = payload;
  return { issuer: iss, subject: sub, tokenIdentifier: `${iss}|${sub}`, ...claims };
}

/** A throw-away issuer: {provider, sign(claims, header?)}. */
export function makeIssuer({ issuer = "https://issuer.standin.test", applicationID = "standin-app", algorithm = "RS256", kid = "k1" } = {}) {
  const { publicKey, privateKey } = algorithm === "RS256" ? generateKeyPairSync("rsa", { modulusLength: 2048 }) : generateKeyPairSync("ec", { namedCurve: "P-256" });
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
