// Signs a request by the simple scheme, and prints the header.
// node simple.mjs METHOD URL [IDEMPOTENCY_KEY] < BODY, with PURSER_SIGNING_SECRET
import { createHash, createHmac, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";

export function sign(secret, method, url, key = "", body = "") {
  const u = new URL(url);
  const t = String(Math.floor(Date.now() / 1000)), n = randomBytes(16).toString("base64url");
  const digest = createHash("sha256").update(body).digest("hex");
  const lines = [t, n, method, u.host, u.pathname, u.search.slice(1), key, digest];
  const v1 = createHmac("sha256", secret).update(lines.join("\n")).digest("hex");
  return `t=${t},n=${n},v1=${v1}`;
}

const [method, url, key] = process.argv.slice(2);
console.log("Purser-Signature:", sign(process.env.PURSER_SIGNING_SECRET, method, url, key, readFileSync(0)));
