// Package fleet registers a cluster's nodes and gives every pod bound to one of them its life.
package fleet

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
)

// How long one request to the API server may take.
const requestMax = 10 * time.Second

// api is the API server, as pods use it.
type api struct {
	client kubernetes.Interface
	events record.EventRecorder
	close  func()

	mu     sync.Mutex
	server *v1.Service
}

func newAPI(kubeconfig string) (*api, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	// One program stands for many nodes, and tests do not wait for fairness.
	config.QPS, config.Burst = 500, 1000
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&corev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	source := v1.EventSource{Component: "diolkos-node"}
	return &api{
		client: client,
		events: broadcaster.NewRecorder(scheme.Scheme, source),
		close:  broadcaster.Shutdown,
	}, nil
}

func (a *api) ConfigMap(namespace, name string) (*v1.ConfigMap, error) {
	ctx, stop := context.WithTimeout(context.Background(), requestMax)
	defer stop()
	return a.client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (a *api) Secret(namespace, name string) (*v1.Secret, error) {
	ctx, stop := context.WithTimeout(context.Background(), requestMax)
	defer stop()
	return a.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (a *api) Token(pod *v1.Pod, audience string, seconds int64) (string, time.Time, error) {
	ctx, stop := context.WithTimeout(context.Background(), requestMax)
	defer stop()
	request := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	accounts := a.client.CoreV1().ServiceAccounts(pod.Namespace)
	answer, err := accounts.CreateToken(ctx, pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return "", time.Time{}, err
	}
	return answer.Status.Token, answer.Status.ExpirationTimestamp.Time, nil
}

func (a *api) PatchStatus(ctx context.Context, pod *v1.Pod, status *v1.PodStatus) error {
	ctx, stop := context.WithTimeout(ctx, requestMax)
	defer stop()
	// With the uid in it the patch is refused if another pod has the name by now.
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status":   explicit(status),
	})
	if err != nil {
		return err
	}
	_, err = a.client.CoreV1().Pods(pod.Namespace).Patch(
		ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// explicit names what is empty too, and has lists of addresses replaced, or an earlier value would
// stay: that of a node program that ended, say.
func explicit(status *v1.PodStatus) map[string]any {
	text, err := json.Marshal(status)
	if err != nil {
		panic(err) // A status is always JSON.
	}
	fields := map[string]any{}
	if err := json.Unmarshal(text, &fields); err != nil {
		panic(err)
	}
	for _, name := range []string{"reason", "message", "podIP", "podIPs"} {
		if _, ok := fields[name]; !ok {
			fields[name] = nil
		}
	}
	for _, name := range []string{"podIPs", "hostIPs"} {
		if list, ok := fields[name].([]any); ok {
			fields[name] = append(list, map[string]any{"$patch": "replace"})
		}
	}
	return fields
}

func (a *api) Delete(ctx context.Context, pod *v1.Pod) error {
	ctx, stop := context.WithTimeout(ctx, requestMax)
	defer stop()
	now := int64(0)
	err := a.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now,
		Preconditions:      &metav1.Preconditions{UID: &pod.UID},
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

func (a *api) Event(pod *v1.Pod, kind, reason, message string) {
	a.events.Event(pod, kind, reason, message)
}

func (a *api) Server() (host, port string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server == nil {
		ctx, stop := context.WithTimeout(context.Background(), requestMax)
		defer stop()
		found, err := a.client.CoreV1().Services(metav1.NamespaceDefault).Get(ctx, "kubernetes", metav1.GetOptions{})
		if err != nil {
			return "", "", err
		}
		a.server = found
	}
	return a.server.Spec.ClusterIP, strconv.Itoa(int(a.server.Spec.Ports[0].Port)), nil
}
