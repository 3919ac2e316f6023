package access

// Known returns copies of all that a directory knows.
func (d *Directory) Known() (map[string]Merchant, map[string]Key) {
	s := d.snapshot.Load()
	if s == nil {
		return nil, nil
	}
	return s.merchants.records(), s.keys.records()
}

func (t *table[V]) records() map[string]V {
	all := map[string]V{}
	for _, shard := range t.shards {
		for id, v := range shard {
			all[id] = *v
		}
	}
	return all
}
