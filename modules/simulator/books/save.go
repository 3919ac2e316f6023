package books

import (
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
)

// image is the books as they are written to a file.
type image struct {
	IDs        uint64                `json:"ids"` // how many identifiers were made
	Charges    []Charge              `json:"charges"`
	Methods    []Method              `json:"methods"`
	Challenges []Challenge           `json:"challenges"`
	Answers    map[string]remembered `json:"answers"`
	Endpoints  []Endpoint            `json:"endpoints"`
	Tasks      []Task                `json:"tasks"`
	Counts     []Tally               `json:"counts"`
}

// Save writes the books as JSON. It holds webhook secrets of the simulator's
// own, and no card number. Faults are not kept: a restart is calm.
func (b *Books) Save(w io.Writer) error {
	img := image{IDs: b.ids.n.Load(), Charges: b.All(), Challenges: b.Challenges(false), Tasks: b.Tasks(), Endpoints: b.Webhooks.Endpoints()}
	img.Counts = b.Counts("", "")
	b.mu.Lock()
	for m := range b.methods.oldest() {
		img.Methods = append(img.Methods, m)
	}
	b.mu.Unlock()
	img.Answers = b.Memory.image()
	if err := json.MarshalWrite(w, img, json.Deterministic(true)); err != nil {
		return fmt.Errorf("write books: %w", err)
	}
	return nil
}

// Load replaces the books by what Save wrote. What was scheduled is scheduled
// again.
func (b *Books) Load(r io.Reader) error {
	var img image
	if err := json.UnmarshalRead(r, &img); err != nil {
		return fmt.Errorf("read books: %w", err)
	}
	b.forget()
	b.ids.n.Store(img.IDs)
	b.Memory.load(img.Answers)
	b.mu.Lock()
	for i := range img.Charges {
		b.put(&img.Charges[i])
	}
	for _, m := range img.Methods {
		b.methods.put(m.ID, m)
	}
	for _, c := range img.Challenges {
		b.challenges.put(c.ID, c)
	}
	for _, t := range img.Counts {
		c := new([opCount]Count)
		for name, n := range t.Requests {
			if op, err := ParseOperation(name); err == nil {
				c[op] = n
			}
		}
		b.counts.put(key(t.Connector, t.Reference), c)
	}
	b.mu.Unlock()
	for _, e := range img.Endpoints {
		if _, err := b.Webhooks.Register(e); err != nil {
			return err
		}
	}
	for _, t := range img.Tasks {
		b.schedule(t)
	}
	return nil
}

// image copies what is kept; requests under way are left out, for nobody will
// finish them.
func (m *Memory) image() map[string]remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string]remembered{}
	for k, e := range m.kept.items {
		if !e.Running {
			all[k] = e
		}
	}
	return all
}

func (m *Memory) load(all map[string]remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, e := range all {
		m.kept.put(k, e)
	}
}
