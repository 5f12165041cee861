package serve

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"diolkos.dev/kind-tests/node/logs"
)

func TestALogIsAskedForInTheWordsOfTheAPIServer(t *testing.T) {
	now := time.Unix(1000, 0)
	for query, expected := range map[string]logs.Wish{
		"":                            {Tail: -1},
		"tailLines=0&follow=true":     {Tail: 0, Follow: true},
		"tailLines=5&timestamps=true": {Tail: 5, Timestamps: true},
		"limitBytes=10":               {Tail: -1, BytesMax: 10},
		"sinceSeconds=60":             {Tail: -1, Since: time.Unix(940, 0)},
	} {
		values, _ := url.ParseQuery(query)
		if found, err := wishOf(values, now); err != nil || found != expected {
			t.Errorf("%s: %+v, %v", query, found, err)
		}
	}
	for _, query := range []string{"tailLines=-1", "limitBytes=x", "sinceTime=now"} {
		values, _ := url.ParseQuery(query)
		if found, err := wishOf(values, now); err == nil {
			t.Errorf("%s: %+v", query, found)
		}
	}
}

func TestAPodThatIsNotHereIsNotFound(t *testing.T) {
	server, err := New(func(_, name string) Pod {
		if name == "cart" {
			return talker{}
		}
		return nil
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	for path, expected := range map[string]struct {
		code int
		says string
	}{
		"/containerLogs/shop/cart/app":             {http.StatusOK, "app of before: true"},
		"/containerLogs/shop/gone/app":             {http.StatusNotFound, "pod shop/gone is not here"},
		"/containerLogs/shop/cart/app?tailLines=x": {http.StatusBadRequest, "tailLines"},
		"/exec/shop/gone/app":                      {http.StatusNotFound, "is not here"},
		"/exec/shop/cart/app":                      {http.StatusBadRequest, "must specify"},
		"/attach/shop/cart/app":                    {http.StatusNotImplemented, "use logs or exec"},
		"/pods":                                    {http.StatusNotFound, ""},
	} {
		if !strings.Contains(path, "?") {
			path += "?previous=true"
		}
		answer := httptest.NewRecorder()
		server.mux.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
		if answer.Code != expected.code || !strings.Contains(answer.Body.String(), expected.says) {
			t.Errorf("%s: %d %s", path, answer.Code, answer.Body)
		}
	}
}

// talker is a pod that only has logs.
type talker struct{}

func (talker) Logs(_ context.Context, to io.Writer, container string, previous bool, _ logs.Wish) error {
	_, err := io.WriteString(to, container+" of before: "+map[bool]string{true: "true", false: "false"}[previous])
	return err
}

func (talker) Exec(context.Context, string, []string, bool, [3]*os.File) (int, error) {
	return 0, io.EOF
}

func (talker) Dial(uint16, time.Duration) (net.Conn, error) { return nil, io.EOF }
