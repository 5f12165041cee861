package probe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestATallyNeedsItsThresholdInARow(t *testing.T) {
	tally := NewTally(&v1.Probe{SuccessThreshold: 2, FailureThreshold: 3}, false)
	for i, step := range strings.Fields("+ +S - - + - - -S - + +S + -") {
		settled := tally.Add(step[0] == '+')
		if settled != strings.HasSuffix(step, "S") {
			t.Errorf("step %d, %s: settled is %v", i, step, settled)
		}
	}
	if !tally.Verdict {
		t.Error("the last settled verdict was good")
	}
	if !NewTally(&v1.Probe{}, false).Add(true) {
		t.Error("without thresholds the first answer settles")
	}
}

func TestEveryKindOfProbeTellsGoodFromBad(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ready" || r.Host != "cart" {
			w.WriteHeader(503)
		}
	}))
	defer web.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	served := health.NewServer()
	served.SetServingStatus("bad", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(server, served)
	go server.Serve(listener)
	defer server.Stop()

	webPort, rpcPort := portOf(web.Listener), portOf(listener)
	host := []v1.HTTPHeader{{Name: "host", Value: "cart"}}
	bad := "bad"
	target := Target{
		PodIP: "127.0.0.1",
		Ports: []v1.ContainerPort{{Name: "web", ContainerPort: webPort}},
		Exec: func(_ context.Context, argv []string) (int, error) {
			return len(argv) - 1, nil
		},
	}
	for name, test := range map[string]struct {
		said v1.ProbeHandler
		good bool
	}{
		"http":       {v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Path: "ready", Port: intstr.FromString("web"), HTTPHeaders: host}}, true},
		"http 503":   {v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(webPort), HTTPHeaders: host}}, false},
		"no port":    {v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Port: intstr.FromString("gone")}}, false},
		"tcp":        {v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromString("web")}}, true},
		"tcp closed": {v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromInt32(1)}}, false},
		"grpc":       {v1.ProbeHandler{GRPC: &v1.GRPCAction{Port: rpcPort}}, true},
		"grpc bad":   {v1.ProbeHandler{GRPC: &v1.GRPCAction{Port: rpcPort, Service: &bad}}, false},
		"exec":       {v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"true"}}}, true},
		"exec code":  {v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"sh", "x"}}}, false},
		"nothing":    {v1.ProbeHandler{}, false},
	} {
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
		if err := Check(ctx, &test.said, target); (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
		stop()
	}
}

func TestAWatchReportsWhatSettlesUntilToldToStop(t *testing.T) {
	target := Target{Exec: func(context.Context, []string) (int, error) { return 0, errors.New("no") }}
	said := &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{}}, FailureThreshold: 1}
	var reasons []error
	Watch(context.Background(), said, true, target, func(good bool, reason error) bool {
		reasons = append(reasons, reason)
		return good
	})
	if len(reasons) != 1 || reasons[0] == nil {
		t.Errorf("%v", reasons)
	}
}

func portOf(l net.Listener) int32 { return int32(l.Addr().(*net.TCPAddr).Port) }
