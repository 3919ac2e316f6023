// Signs a request by RFC 9421 with an Ed25519 key, and prints the headers.
// node rfc9421.mjs METHOD URL [NAME:VALUE]... < BODY, with PURSER_PRIVATE_KEY (PEM) and PURSER_KEYID
import { createHash, randomBytes, sign as signEd25519 } from "node:crypto";
import { readFileSync } from "node:fs";

const covered = ["authorization", "content-type", "content-digest", "idempotency-key", "dpop"];

export function sign(privateKey, keyid, method, url, headers, body = "") {
  const h = new Headers(headers);
  if (body.length) h.set("content-digest", `sha-256=:${createHash("sha256").update(body).digest("base64")}:`);
  const parts = [["@method", method], ["@target-uri", url], ...covered.filter((n) => h.has(n)).map((n) => [n, h.get(n)])];
  const created = Math.floor(Date.now() / 1000), nonce = randomBytes(16).toString("base64url");
  const params = `(${parts.map(([n]) => `"${n}"`).join(" ")});created=${created};nonce="${nonce}";keyid="${keyid}"`;
  const base = parts.map(([n, v]) => `"${n}": ${v}\n`).join("") + `"@signature-params": ${params}`;
  h.set("signature-input", `sig1=${params}`);
  h.set("signature", `sig1=:${signEd25519(null, Buffer.from(base), privateKey).toString("base64")}:`);
  return h;
}

const [method, url, ...pairs] = process.argv.slice(2);
const headers = pairs.map((p) => [p.slice(0, p.indexOf(":")), p.slice(p.indexOf(":") + 1)]);
const signed = sign(process.env.PURSER_PRIVATE_KEY, process.env.PURSER_KEYID, method, url, headers, readFileSync(0));
for (const [name, value] of signed) console.log(`${name}: ${value}`);
