package api

// Limit makes a server's limits small enough to be reached.
func (s *Server) Limit(answerBytes, traceRows int) { s.limits = limits{answerBytes, traceRows} }
