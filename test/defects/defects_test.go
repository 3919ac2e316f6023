// Package defects proves that the tests of the money path can fail: it puts one
// deliberate defect at a time into the engine or the transport, by the
// compiler's overlay, and demands that the named test catches it.
package defects

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// defect is one mistake that somebody could make.
type defect struct {
	name     string
	file     string // from the module's root
	old, new string // old must occur exactly once
	pkg      string
	test     string // the test that must catch it
}

var defects = []defect{
	{
		name: "fail over while unknown",
		file: "modules/engine/learn.go",
		old:  "\t\t\tdoubt(p, a)\n\t\t}\n\t\treturn verdict{}, nil\n\tcase connector.NotSent:",
		new:  "\t\t}\n\t\treturn refused(p, a, payment.Fail(payment.PSPUnavailable), n)\n\tcase connector.NotSent:",
		pkg:  "./modules/engine", test: "TestUnknownIsNeverTriedElsewhere",
	},
	{
		name: "drop the key's claim",
		file: "modules/engine/claim.go",
		old:  "case claimed:\n\t\treturn key, nil, nil",
		new:  "case claimed, held.Status == 0:\n\t\treturn key, nil, nil",
		pkg:  "./modules/engine", test: "TestOneKeyOneCharge",
	},
	{
		name: "cancel with the caller",
		file: "modules/engine/carry.go",
		old:  "ctx = context.WithoutCancel(ctx)\n\tj.away",
		new:  "j.away",
		pkg:  "./modules/engine", test: "TestCallerHangsUp",
	},
	{
		name: "forget the worst send",
		file: "modules/transport/run.go",
		old:  "r.doubt = r.doubt || o.unknown",
		new:  "r.doubt = o.unknown",
		pkg:  "./modules/engine", test: "TestFailureTable",
	},
	{
		name: "keep back what may have been charged",
		file: "modules/transport/breaker.go",
		old:  "payment.KindAuthorize && r.call.Sent.IsZero()",
		new:  "payment.KindAuthorize",
		pkg:  "./modules/transport", test: "TestBreakerKeepsBack",
	},
	{
		name: "believe not found at once",
		file: "modules/engine/learn.go",
		old:  "case n.asOf.Sub(lastSent(a)) < n.notFoundAfter:\n\t\tif a.Doubt {\n\t\t\tdoubt(p, a)\n\t\t}\n\t\treturn verdict{}, nil\n",
		new:  "",
		pkg:  "./modules/engine", test: "TestNotFoundNeedsTime",
	},
	{
		name: "count a capture that a query has shown",
		file: "modules/engine/learn.go",
		old:  "sum = min(sum, max(charge.Captured, r.Charge.Captured))",
		new:  "",
		pkg:  "./modules/engine", test: "TestTwoCaptures",
	},
	{
		name: "send after having stood still",
		file: "modules/engine/carry.go",
		old:  "left -= max(e.now().Sub(a.Sent), 0)",
		new:  "",
		pkg:  "./modules/engine", test: "TestStoodStill",
	},
	{
		name: "believe the age of an answer and not of the question",
		file: "modules/engine/carry.go",
		old:  "n.asOf = j.asked",
		new:  "",
		pkg:  "./modules/engine", test: "TestNotFoundIsBelievedLate",
	},
	{
		name: "drop the webhook of an unknown account",
		file: "modules/engine/work.go",
		old:  "\t\treturn noAccount(account)",
		new:  "\t\treturn nil",
		pkg:  "./modules/engine", test: "TestUnknownAccountKeepsWebhook",
	},
	{
		name: "count not found from the first send",
		file: "modules/engine/settle.go",
		old:  "a.Resent = e.now().Add(e.exchangeTime(a.Account))",
		new:  "",
		pkg:  "./modules/engine", test: "TestNotFoundAfterLostRepeat",
	},
	{
		name: "forget the name of a charge that was asked after",
		file: "modules/engine/learn.go",
		old:  "(n.by != byQuery || a.Kind == payment.KindAuthorize)",
		new:  "n.by != byQuery",
		pkg:  "./modules/engine", test: "TestSettledNamesItsCharge",
	},
	{
		name: "take a key from everywhere where the address is not known",
		file: "modules/access/directory.go",
		old:  "case !allowed(key.AllowIP, from):",
		new:  "case from.IsValid() && !allowed(key.AllowIP, from):",
		pkg:  "./modules/access", test: "TestAuthenticateFrom",
	},
	{
		name: "let a slow reading of keys undo a quicker one",
		file: "modules/access/reading.go",
		old:  "\td.refresh.Lock()\n\tdefer d.refresh.Unlock()\n\towed := d.owed.take()",
		new:  "\towed := d.owed.take()",
		pkg:  "./modules/access", test: "TestHeldReading",
	},
	{
		name: "forget which keys have changed where they cannot be read",
		file: "modules/access/reading.go",
		old:  "d.owed.add(owed)",
		new:  "",
		pkg:  "./modules/access", test: "TestCatchUp",
	},
	{
		name: "let a day's amount pass its limit",
		file: "modules/engine/quota.go",
		old:  "Limit: q.Limit, Expires",
		new:  "Limit: q.Limit + amount, Expires",
		pkg:  "./modules/engine", test: "TestQuotas",
	},
	{
		name: "spend a nonce before its signature has verified",
		file: "modules/guard/verify.go",
		old:  "result, err := signature.Verify(&c.message, key, g.cfg.Profile, g.cfg.Now())",
		new:  "_ = g.spend(c.HTTP.Context(), store.Nonce{Space: \"sig:\" + key.ID(), Value: \"x\"}, \"\")\n\tresult, err := signature.Verify(&c.message, key, g.cfg.Profile, g.cfg.Now())",
		pkg:  "./modules/guard", test: "TestVerify",
	},
	{
		name: "let another merchant's certificate go with a key",
		file: "modules/guard/authenticate.go",
		old:  "mapped && (holder.Merchant != p.Merchant || holder.Mode != p.Mode)",
		new:  "mapped && holder.Merchant == \"\" && p.Merchant == \"\"",
		pkg:  "./modules/guard", test: "TestAuthenticate",
	},
	{
		name: "be content with what a webhook tells of a card",
		file: "modules/engine/work.go",
		old:  "err != nil || !thin(&p, a, ev)",
		new:  "err != nil || a != nil",
		pkg:  "./modules/engine", test: "TestThinWebhook",
	},
	{
		name: "a new reference for every attempt at the PSP",
		file: "modules/engine/call.go",
		old:  "Key: e.stepKey(a, a.Step)",
		new:  "Key: e.stepKey(a, a.Step+e.now().String())",
		pkg:  "./modules/engine", test: "TestFailureTable",
	},
	{
		name: "end a payment that the payer can still pay",
		file: "modules/engine/carry.go",
		old:  "if v.closeLast || v.closeFirst",
		new:  "if v.closeFirst",
		pkg:  "./modules/engine", test: "TestUnattendedIsClosed",
	},
	{
		name: "answer before the outcome is durable",
		file: "modules/engine/carry.go",
		old:  "if err := e.schedule(tx, m, p, j, goOn); err != nil {\n\t\treturn nil, err\n\t}",
		new:  "",
		pkg:  "./modules/engine", test: "TestHistories",
	},
	{
		name: "forget to tell that a payment is processing",
		file: "modules/engine/save.go",
		old:  "p.Untold = p.Status == payment.Processing && news && !over",
		new:  "p.Untold, news = false, news && over",
		pkg:  "./modules/engine", test: "TestProcessingIsTold",
	},
	{
		name: "end a payment by the passing of time alone",
		file: "modules/engine/work.go",
		old:  "err = e.expireAsked(ctx, &p)",
		new:  "return e.expireBlindly(ctx, i)",
		pkg:  "./modules/engine", test: "TestExpiry",
	},
	{
		name: "take the answer to a hang-up",
		file: "modules/transport/send.go",
		old:  "if err := ctx.Err(); err != nil {\n\t\ta.err =",
		new:  "if err := ctx.Err(); err != nil && false {\n\t\ta.err =",
		pkg:  "./modules/transport", test: "TestAnswersToAHangUp",
	},
	{
		name: "decline what the payer can still pay",
		file: "modules/engine/learn.go",
		old:  "if a.Purpose == payment.PurposeClose && a.Status.Open()",
		new:  "if false && a.Purpose == payment.PurposeClose && a.Status.Open()",
		pkg:  "./modules/engine", test: "TestUnattendedIsClosed",
	},
	{
		name: "refund without reserving",
		file: "modules/engine/operate.go",
		old:  "free := left - p.AmountReservedForRefund()",
		new:  "free := left",
		pkg:  "./modules/engine", test: "TestRefundAmounts",
	},
	{
		name: "capture what another capture has reserved",
		file: "modules/payment/payment.go",
		old:  "a.Kind == KindCapture && a.Final {\n\t\t\treturn 0",
		new:  "a.Kind == KindCapture && a.Final {\n\t\t\tbreak",
		pkg:  "./modules/engine", test: "TestCaptureReserves",
	},
	{
		name: "believe any webhook",
		file: "modules/engine/work.go",
		old:  "r.Charge.Amount == p.Amount.With(a.Amount) &&\n\t\t\t",
		new:  "",
		pkg:  "./modules/engine", test: "TestWebhookMustAgree",
	},
	{
		name: "show a payment to another merchant",
		file: "modules/engine/engine.go",
		old:  "case p.Merchant != s.Merchant || p.Mode != s.Mode:",
		new:  "case p.Mode != s.Mode:",
		pkg:  "./modules/engine", test: "TestNothingCrosses",
	},
	{
		name: "show a webhook endpoint to another merchant",
		file: "modules/api/endpoints.go",
		old:  "(e.Merchant != rq.principal.Merchant || e.Mode != rq.principal.Mode)",
		new:  "e.Mode != rq.principal.Mode",
		pkg:  "./modules/api", test: "TestEndpointWalls",
	},
	{
		name: "tell a secret again for as long as its key lives",
		file: "modules/api/remember.go",
		old:  "if rq.start.Before(s.Until) {",
		new:  "if len(s.Secret) > 0 {",
		pkg:  "./modules/api", test: "TestSecretIsToldOnce",
	},
}

// extra is code that a defect needs to compile.
var extra = map[string]string{
	"end a payment by the passing of time alone": `
func (e *Engine) expireBlindly(ctx context.Context, i store.Item) error {
	return e.update(ctx, func(tx store.Tx) error {
		t, err := decodeTicket(i)
		if err != nil {
			return err
		}
		p, err := tx.Payment(t.Payment)
		if err != nil {
			return err
		}
		m := mark(&p)
		end(p.Current(), payment.AttemptCanceled, nil, e.now())
		p.Status = payment.Expired
		if _, err := e.save(tx, m, &p, ""); err != nil {
			return err
		}
		return tx.Dequeue(store.Expire, i.ID)
	})
}
`,
}

func TestDefectsAreCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the engine once for each defect")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range defects {
		t.Run(strings.ReplaceAll(d.name, " ", "_"), func(t *testing.T) {
			out, err := run(t, root, d)
			if err == nil {
				t.Fatalf("%s passes with the defect in it", d.test)
			}
			if bytes.Contains(out, []byte("[build failed]")) || !bytes.Contains(out, []byte("--- FAIL: "+d.test)) {
				t.Fatalf("%s did not fail by itself:\n%.3000s", d.test, out)
			}
		})
	}
}

// run puts the defect into a copy of its file, and runs the test on that.
func run(t *testing.T, root string, d defect) ([]byte, error) {
	t.Helper()
	file := filepath.Join(root, filepath.FromSlash(d.file))
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(src), d.old); n != 1 {
		t.Fatalf("%s: the place for the defect occurs %d times: bring this test up to date", d.file, n)
	}
	dir := t.TempDir()
	broken := filepath.Join(dir, filepath.Base(file))
	if err := os.WriteFile(broken, []byte(strings.Replace(string(src), d.old, d.new, 1)+extra[d.name]), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{file: broken}})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-short", "-count=1", "-overlay", list, "-run", "^"+d.test+"$", d.pkg)
	cmd.Dir = root
	return cmd.CombinedOutput()
}
