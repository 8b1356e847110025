package schema

import "context"

// ApplyUpTo migrates to an earlier version, and then applies the further texts as if they were the next migrations.
func ApplyUpTo(ctx context.Context, uri string, version int64, further ...string) error {
	list, err := migrations()
	if err != nil {
		return err
	}
	list = list[:version]
	for _, text := range further {
		list = append(list, migration{version: int64(len(list) + 1), name: "further", text: text})
	}
	return apply(ctx, uri, list)
}
