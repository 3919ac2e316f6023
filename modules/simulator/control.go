package simulator

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/connectors/stripe/stripesim"
	"github.com/purser-pay/purser/modules/simulator/books"
)

const maxControlBody = 64 << 10 // bytes

// routes is the control API.
func (s *Simulator) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, do := range map[string]func(*http.Request) (any, error){
		"GET /_sim/books":            s.getBooks,
		"GET /_sim/faults":           s.getFaults,
		"POST /_sim/faults":          s.postFault,
		"DELETE /_sim/faults":        s.deleteFaults,
		"GET /_sim/challenges":       s.getChallenges,
		"POST /_sim/challenges/{id}": s.postChallenge,
		"GET /_sim/webhooks":         s.getWebhooks,
		"POST /_sim/webhooks":        s.postWebhook,
		"DELETE /_sim/webhooks":      s.deleteWebhooks,
		"POST /_sim/pay":             s.postPay,
		"POST /_sim/advance":         s.postAdvance,
		"GET /_sim/requests":         s.getRequests,
		"POST /_sim/reset":           s.postReset,
		"GET /_sim/keys":             s.getKeys,
		"POST /_sim/keys":            s.postKey,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if why := foreign(r); why != "" {
				reply(w, http.StatusForbidden, problem{why})
				return
			}
			v, err := do(r)
			if err != nil {
				reply(w, statusOf(err), problem{err.Error()})
				return
			}
			reply(w, http.StatusOK, v)
		})
	}
	return mux
}

// foreign says why a request may not control the simulator: it is not from
// this machine, or a web page made a browser send it.
func foreign(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || !net.ParseIP(host).IsLoopback() {
		return "control is for loopback only"
	}
	name := r.Host
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	if name != "localhost" && !net.ParseIP(name).IsLoopback() {
		return "control is for loopback only: ask for it by a loopback name"
	}
	if r.Header.Get("Origin") != "" || (r.Header.Get("Sec-Fetch-Site") != "" && r.Header.Get("Sec-Fetch-Site") != "none") {
		return "control is not for web pages"
	}
	return ""
}

type problem struct {
	Error string `json:"error"`
}

var errBody = errors.New("bad request body")

func statusOf(err error) int {
	switch {
	case errors.Is(err, books.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, books.ErrState):
		return http.StatusConflict
	default:
		return http.StatusBadRequest
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.MarshalWrite(w, v) // the client may have left
}

// read takes a JSON body that holds nothing but v's members.
func read(r *http.Request, v any) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxControlBody+1))
	if err != nil || len(body) > maxControlBody {
		return errBody
	}
	if err := json.Unmarshal(body, v, json.RejectUnknownMembers(true)); err != nil {
		return errors.Join(errBody, err)
	}
	return nil
}

type none struct{}

// shownCharge is a charge as GET /_sim/books shows it: what the contract names
// first, then the rest, and what was received.
type shownCharge struct {
	books.Charge `json:",inline"`
	Requests     map[string]books.Count `json:"requests,omitzero"`
}

func (s *Simulator) getBooks(r *http.Request) (any, error) {
	q := r.URL.Query()
	connector, reference := q.Get("connector"), q.Get("reference")
	counts := map[string]map[string]books.Count{}
	for _, t := range s.books.Counts(connector, reference) {
		counts[t.Connector+"\x00"+t.Reference] = t.Requests
	}
	shown := []shownCharge{}
	for _, c := range s.books.All() {
		if (connector != "" && c.Connector != connector) || (reference != "" && c.Reference != reference) {
			continue
		}
		c.Secret = ""
		shown = append(shown, shownCharge{c, counts[c.Connector+"\x00"+c.Reference]})
	}
	return struct {
		Charges []shownCharge `json:"charges"`
	}{shown}, nil
}

type faultList struct {
	Faults []books.Fault `json:"faults"`
}

func (s *Simulator) getFaults(*http.Request) (any, error) {
	return faultList{s.books.Faults.List()}, nil
}

func (s *Simulator) postFault(r *http.Request) (any, error) {
	var in struct {
		books.Fault `json:",inline"`
		Times       *int     `json:"times"`
		Probability *float64 `json:"probability"`
	}
	if err := read(r, &in); err != nil {
		return nil, err
	}
	f := in.Fault
	if in.Times != nil && in.Probability != nil {
		return nil, errors.New("a fault has times or a probability, not both")
	}
	if in.Times != nil {
		if f.Times = *in.Times; f.Times < 1 {
			return nil, errors.New("times is at least 1")
		}
	}
	if in.Probability != nil {
		if f.Probability = *in.Probability; f.Probability <= 0 {
			return nil, errors.New("probability is more than 0")
		}
	}
	if f.Connector != "" && s.dialects[f.Connector] == nil {
		return nil, errors.New("connector " + f.Connector + " is not simulated")
	}
	if err := s.books.Faults.Add(f); err != nil {
		return nil, err
	}
	return faultList{s.books.Faults.List()}, nil
}

func (s *Simulator) deleteFaults(*http.Request) (any, error) {
	s.books.Faults.Clear()
	return faultList{[]books.Fault{}}, nil
}

func (s *Simulator) getChallenges(r *http.Request) (any, error) {
	return struct {
		Challenges []books.Challenge `json:"challenges"`
	}{s.books.Challenges(r.URL.Query().Get("all") == "")}, nil
}

func (s *Simulator) postChallenge(r *http.Request) (any, error) {
	var in struct {
		Result string `json:"result"`
	}
	if err := read(r, &in); err != nil {
		return nil, err
	}
	if in.Result != books.ResultSucceed && in.Result != books.ResultFail {
		return nil, errors.New(`result is "succeed" or "fail"`)
	}
	ch, err := s.books.FindChallenge(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if err := s.dialects[ch.Connector].Resolve(ch.ID, in.Result == books.ResultSucceed); err != nil {
		return nil, err
	}
	return s.books.FindChallenge(ch.ID)
}

type webhookState struct {
	Endpoints []books.Endpoint   `json:"endpoints"`
	Stats     books.WebhookStats `json:"stats"`
}

func (s *Simulator) getWebhooks(*http.Request) (any, error) {
	all := s.books.Webhooks.Endpoints()
	for i := range all {
		all[i].Secret = ""
	}
	return webhookState{append([]books.Endpoint{}, all...), s.books.Webhooks.Stats()}, nil
}

func (s *Simulator) postWebhook(r *http.Request) (any, error) {
	var in struct {
		Connector string `json:"connector"`
		Account   string `json:"account"`
		URL       string `json:"url"`
		Secret    string `json:"secret"`
	}
	if err := read(r, &in); err != nil {
		return nil, err
	}
	u, err := url.Parse(in.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("url is not an http address")
	}
	if s.dialects[in.Connector] == nil {
		return nil, errors.New("connector " + in.Connector + " is not simulated")
	}
	account := in.Account
	if in.Connector == stripesim.Connector {
		account = stripeAccount(account)
	}
	e, err := s.books.Webhooks.Register(books.Endpoint{Connector: in.Connector, Account: account, URL: in.URL, Secret: in.Secret})
	e.Secret = ""
	return e, err
}

func (s *Simulator) deleteWebhooks(r *http.Request) (any, error) {
	s.books.Webhooks.Unregister(r.URL.Query().Get("connector"))
	return none{}, nil
}

func (s *Simulator) postPay(r *http.Request) (any, error) {
	var in struct {
		Reference string `json:"reference"`
		Connector string `json:"connector"`
	}
	if err := read(r, &in); err != nil {
		return nil, err
	}
	err := books.ErrNotFound
	for name, d := range s.dialects {
		if in.Connector != "" && in.Connector != name {
			continue
		}
		if e := d.Pay(in.Reference); e == nil || !errors.Is(e, books.ErrNotFound) {
			err = e
		}
	}
	return none{}, err
}

func (s *Simulator) postAdvance(*http.Request) (any, error) {
	return struct {
		Advanced int `json:"advanced"`
	}{s.books.Advance()}, nil
}

func (s *Simulator) getRequests(r *http.Request) (any, error) {
	q := r.URL.Query()
	return struct {
		Requests []books.Tally `json:"requests"`
	}{s.books.Counts(q.Get("connector"), q.Get("reference"))}, nil
}

func (s *Simulator) postReset(*http.Request) (any, error) {
	s.books.Reset()
	return none{}, nil
}

func (s *Simulator) getKeys(*http.Request) (any, error) {
	return struct {
		Alipay string `json:"alipay_public_key"`
	}{s.AlipayPublicKeyPEM()}, nil
}

func (s *Simulator) postKey(r *http.Request) (any, error) {
	var in struct {
		AppID     string `json:"app_id"`
		PublicKey string `json:"public_key"`
	}
	if err := read(r, &in); err != nil {
		return nil, err
	}
	return none{}, s.SetAlipayMerchantKey(in.AppID, []byte(in.PublicKey))
}
