// Package whitelist holds the public keys that may submit to the uptime service: [Static] from its configuration, [File] from a file
// that may be changed while the service runs, [Database] from the table uptime_whitelist. Each of them is a service.Whitelist.
//
// File and Database look at their source again and again in Run; Refresh looks once, so that a program can tell at its start what is
// wrong. When looking fails, the keys of before stay, and Healthy returns why until it succeeds again. The log is told once of each failure.
package whitelist
