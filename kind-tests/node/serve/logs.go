package serve

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"diolkos.dev/kind-tests/node/logs"
)

func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	pod := s.pod(w, r)
	if pod == nil {
		return
	}
	query := r.URL.Query()
	wish, err := wishOf(query, time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	to := &flushing{w}
	err = pod.Logs(r.Context(), to, r.PathValue("container"), query.Get("previous") == "true", wish)
	if os.IsNotExist(err) {
		err = fmt.Errorf("container %s has printed nothing yet", r.PathValue("container"))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func wishOf(query url.Values, now time.Time) (logs.Wish, error) {
	wish := logs.Wish{
		Tail: -1, Follow: query.Get("follow") == "true", Timestamps: query.Get("timestamps") == "true",
	}
	var err error
	number := func(name string, otherwise int64) int64 {
		text := query.Get(name)
		if text == "" {
			return otherwise
		}
		value, bad := strconv.ParseInt(text, 10, 64)
		if bad != nil || value < 0 {
			err = fmt.Errorf("%s is %q, no number", name, text)
		}
		return value
	}
	wish.Tail = int(number("tailLines", -1))
	wish.BytesMax = number("limitBytes", 0)
	if seconds := number("sinceSeconds", 0); seconds > 0 {
		wish.Since = now.Add(-time.Duration(seconds) * time.Second)
	}
	if text := query.Get("sinceTime"); text != "" && err == nil {
		wish.Since, err = time.Parse(time.RFC3339, text)
	}
	return wish, err
}

// flushing lets whoever follows a log see each line at once.
type flushing struct {
	http.ResponseWriter
}

func (f *flushing) Flush() {
	if flusher, ok := f.ResponseWriter.(http.Flusher); ok {
		flusher.Flush()
	}
}
