// Takes a payment from authorization to refund, with types that were generated
// from the OpenAPI document: what the document does not say does not compile.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const [url, key] = (globalThis as unknown as { process: { argv: string[] } }).process.argv.slice(2);
const api = createClient<paths>({ baseUrl: url ?? "", headers: { Authorization: `Bearer ${key}` } });

function want(what: string, ok: boolean, got: unknown): asserts ok {
  if (!ok) throw new Error(`${what}: got ${JSON.stringify(got)}`);
}

const idempotent = (name: string) => ({ header: { "Idempotency-Key": name } });
const card: components["schemas"]["Card"] = {
  type: "card", number: "4242424242424242", exp_month: 12, exp_year: 2034, cvc: "123",
};

const created = await api.POST("/v1/payments", {
  params: idempotent("ts-create"),
  body: { amount: 1999, currency: "EUR", capture_method: "manual", payment_method: card },
});
want("create", created.data?.status === "requires_capture", created);
const path = { id: created.data.id };

const read = await api.GET("/v1/payments/{id}", { params: { path } });
want("get", read.data?.payment_method?.last4 === "4242", read);

const captured = await api.POST("/v1/payments/{id}/capture", { params: { path, ...idempotent("ts-capture") }, body: {} });
want("capture", captured.data?.amount_captured === 1999, captured);

const refund = await api.POST("/v1/refunds", { params: idempotent("ts-refund"), body: { payment: path.id, amount: 500 } });
want("refund", refund.data?.status === "succeeded", refund);

const list = await api.GET("/v1/payments", { params: { query: { limit: 1, status: "succeeded" } } });
want("list", list.data?.data[0]?.amount_refunded === 500, list);

const refused = await api.POST("/v1/refunds", { params: idempotent("ts-more"), body: { payment: path.id, amount: 1999 } });
want("refund of too much", refused.error?.code === "amount_too_large", refused);
