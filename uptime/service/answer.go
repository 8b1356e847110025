package service

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// writeJSON answers with a value that is known to have a JSON form. That a client has gone meanwhile is nobody's concern.
func writeJSON(w http.ResponseWriter, status int, value any) {
	content, err := json.Marshal(value)
	if err != nil {
		http.Error(w, `{"error":"Unexpected server error"}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(status)
	_, _ = w.Write(content)
}

// writeError answers as existing services do.
func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]string{"error": message})
}

// writeBusy asks the client to come back.
func writeBusy(w http.ResponseWriter, message string) {
	w.Header().Set("Retry-After", seconds(retryTime))
	writeError(w, http.StatusServiceUnavailable, message)
}
