package store

// Remembered tells how many submissions and submitters a Memory holds.
func (m *Memory) Remembered() (submissions, submitters int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.keys {
		submissions += len(k.submissions)
	}
	return submissions, len(m.keys)
}

// PruneRows is how many rows one transaction removes.
const PruneRows = pruneRows
