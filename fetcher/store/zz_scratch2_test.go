package store_test
import ("testing"; "github.com/jackc/pgx/v5")
func conns(b *testing.B, uri string, n int) []*pgx.Conn {
	var l []*pgx.Conn
	for range n { l = append(l, benchConn(b, uri)) }
	return l
}
