package crash

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/signature"
	"github.com/purser-pay/purser/test/deployment"
)

// TestNonceOnAllNodes sends requests with one nonce to all nodes at once, again and
// again: one of them takes its request, whichever, and the others say that the nonce
// was used. A node that is killed and comes back has not forgotten it.
func TestNonceOnAllNodes(t *testing.T) {
	w := openCluster(t, 1)
	ctx := t.Context()
	id, key, secret, err := w.NewSigningKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := signature.NewSecretSigner(id, []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	const tries = 60
	client := &http.Client{Timeout: 20 * time.Second}
	for i := range tries {
		statuses := make([]int, len(w.Nodes))
		var all sync.WaitGroup
		for n, node := range w.Nodes {
			all.Go(func() { statuses[n] = signedOnce(ctx, t, client, node, signer, key, i) })
		}
		all.Wait()
		taken, refused := 0, 0
		for _, s := range statuses {
			switch s {
			case http.StatusCreated:
				taken++
			case http.StatusUnauthorized:
				refused++
			}
		}
		if taken != 1 || refused != len(w.Nodes)-1 {
			t.Fatalf("try %d: the nodes answered %v, want 201 once and else 401", i, statuses)
		}
	}
	if err := w.Nodes[0].Kill(); err != nil {
		t.Fatal(err)
	}
	if err := w.Nodes[0].Start(); err != nil {
		t.Fatal(err)
	}
	if err := w.Nodes[0].Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if got := signedOnce(ctx, t, client, w.Nodes[0], signer, key, tries-1); got != http.StatusUnauthorized {
		t.Errorf("after its death a node answers %d to a nonce that was used, want 401", got)
	}
}

// signedOnce sends a request to one node, signed with nonce number i. The nodes have
// each their own address, which a signature covers; all else is the same.
func signedOnce(ctx context.Context, t *testing.T, client *http.Client, n *deployment.Node, signer signature.SigningKey, key string, i int) int {
	t.Helper()
	const path = "/v1/payments"
	body := []byte(`{"amount":100,"currency":"EUR","confirm":false}`)
	at, err := url.Parse(n.URL)
	if err != nil {
		t.Error(err)
		return 0
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0
	}
	req.GetBody = nil
	idempotency := fmt.Sprintf("nonce-%03d", i)
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", idempotency)
	m := signature.Message{Method: http.MethodPost, Scheme: at.Scheme, Authority: at.Host, Path: path, Header: req.Header, Body: body}
	value, err := signature.SignSimple(&m, signer, time.Now(), fmt.Sprintf("nonce-of-request-%03d", i))
	if err != nil {
		t.Error(err)
		return 0
	}
	req.Header.Set(signature.HeaderSimple, value)
	resp, err := client.Do(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}
