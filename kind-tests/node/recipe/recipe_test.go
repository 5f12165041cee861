package recipe

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"diolkos.dev/kind-tests/node/box"
	"diolkos.dev/kind-tests/node/config"
)

func TestExpandKnowsOnlyWhatIsThere(t *testing.T) {
	lookup := func(name string) (string, bool) { return "<" + name + ">", name != "NO" }
	for text, expected := range map[string]string{
		"$(A)-$(B)":     "<A>-<B>",
		"$(NO) $$(A)":   "$(NO) $(A)",
		"$A ${A} $(A":   "$A ${A} $(A",
		"cost: 5$":      "cost: 5$",
		"$$$(A)$$":      "$<A>$",
		"":              "",
		"$($(A))":       "<$(A>)",
		"plain / text!": "plain / text!",
	} {
		if found := Expand(text, lookup); found != expected {
			t.Errorf("%q: %q, expected %q", text, found, expected)
		}
	}
}

func TestEnvironmentIsFilledInOrder(t *testing.T) {
	optional := true
	c := &v1.Container{
		Name: "app",
		EnvFrom: []v1.EnvFromSource{
			{Prefix: "C_", ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: named("settings")}},
			{SecretRef: &v1.SecretEnvSource{LocalObjectReference: named("gone"), Optional: &optional}},
		},
		Env: []v1.EnvVar{
			{Name: "IP", ValueFrom: field("status.podIP")},
			{Name: "WHERE", Value: "$(IP):$(C_port) $(LATER)"},
			{Name: "LATER", Value: "x"},
			{Name: "TOKEN", ValueFrom: &v1.EnvVarSource{SecretKeyRef: &v1.SecretKeySelector{LocalObjectReference: named("keys"), Key: "token"}}},
			{Name: "NONE", ValueFrom: &v1.EnvVarSource{ConfigMapKeyRef: &v1.ConfigMapKeySelector{LocalObjectReference: named("settings"), Key: "no", Optional: &optional}}},
			{Name: "CPU", ValueFrom: &v1.EnvVarSource{ResourceFieldRef: &v1.ResourceFieldSelector{Resource: "limits.cpu"}}},
		},
	}
	env := &Environment{}
	env.Set("LATER", "image")
	if err := env.Fill(pod(c), c, objects{}, nil); err != nil {
		t.Fatal(err)
	}
	expected := []string{"LATER=x", "C_port=80", "IP=10.1.0.2", "WHERE=10.1.0.2:80 image", "TOKEN=s3cret", "CPU=2"}
	if found := env.List(); !slices.Equal(found, expected) {
		t.Errorf("%q, expected %q", found, expected)
	}
	c.Env = []v1.EnvVar{{Name: "A", ValueFrom: &v1.EnvVarSource{SecretKeyRef: &v1.SecretKeySelector{LocalObjectReference: named("keys"), Key: "no"}}}}
	err := (&Environment{}).Fill(pod(c), c, objects{}, nil)
	if err == nil || !strings.Contains(err.Error(), "key no is not in Secret keys") {
		t.Errorf("%v", err)
	}
}

func TestFieldsAreReadWithAndWithoutSubscript(t *testing.T) {
	p := pod(&v1.Container{Name: "app"})
	for path, expected := range map[string]string{
		"metadata.labels['app']":           "cart",
		"metadata.labels":                  "app=\"cart\"\nz=\"a \\\"b\\\"\"",
		"metadata.annotations['a.b/c']":    "",
		"status.podIPs":                    "10.1.0.2,fd00::2",
		"metadata.namespace":               "shop",
		"spec.serviceAccountName":          "cart",
		"status.hostIP":                    "10.9.0.1",
		"metadata.annotations['x']trailer": "!",
	} {
		found, err := Field(p, path)
		if err != nil {
			found = "!"
		}
		if found != expected {
			t.Errorf("%s: %q, expected %q", path, found, expected)
		}
	}
}

func TestResourcesAreRoundedUpAndFallBackToTheNode(t *testing.T) {
	p := pod(&v1.Container{Name: "app"})
	node := v1.ResourceList{"memory": resource.MustParse("3Gi")}
	for _, test := range []struct{ resource, divisor, expected string }{
		{"limits.cpu", "0", "2"}, {"limits.cpu", "1m", "1500"}, {"requests.cpu", "1", "0"},
		{"limits.memory", "1Gi", "3"}, {"requests.memory", "1", "0"},
	} {
		ref := &v1.ResourceFieldSelector{Resource: test.resource, Divisor: resource.MustParse(test.divisor)}
		found, err := Resource(p, "app", ref, node)
		if err != nil || found != test.expected {
			t.Errorf("%s in %s: %q, %v, expected %q", test.resource, test.divisor, found, err, test.expected)
		}
	}
}

func TestResolvConfFollowsThePolicy(t *testing.T) {
	dns := DNS{Servers: []netip.Addr{netip.MustParseAddr("10.96.0.10")}, Domain: "cluster.local", Machine: "nameserver 9.9.9.9\nsearch lan\n# x\n"}
	cluster := "nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
	two := "2"
	extra := &v1.PodDNSConfig{Nameservers: []string{"1.1.1.1"}, Options: []v1.PodDNSConfigOption{{Name: "ndots", Value: &two}, {Name: "edns0"}}}
	for _, test := range []struct {
		policy   v1.DNSPolicy
		host     bool
		extra    *v1.PodDNSConfig
		expected string
	}{
		{v1.DNSClusterFirst, false, nil, cluster},
		{v1.DNSClusterFirst, true, nil, "nameserver 9.9.9.9\nsearch lan\n"},
		{v1.DNSClusterFirstWithHostNet, true, nil, cluster},
		{v1.DNSDefault, false, nil, "nameserver 9.9.9.9\nsearch lan\n"},
		{v1.DNSNone, false, extra, "nameserver 1.1.1.1\noptions ndots:2 edns0\n"},
		{v1.DNSDefault, false, extra, "nameserver 9.9.9.9\nnameserver 1.1.1.1\nsearch lan\noptions ndots:2 edns0\n"},
	} {
		p := pod(&v1.Container{})
		p.Spec.DNSPolicy, p.Spec.HostNetwork, p.Spec.DNSConfig = test.policy, test.host, test.extra
		if found := ResolvConf(p, dns); found != test.expected {
			t.Errorf("%s, host %v:\n%s\nexpected\n%s", test.policy, test.host, found, test.expected)
		}
	}
}

func TestHostsNameThePodAndItsAliases(t *testing.T) {
	p := pod(&v1.Container{})
	p.Spec.Hostname, p.Spec.Subdomain = "one", "peers"
	p.Spec.HostAliases = []v1.HostAlias{{IP: "10.0.0.1", Hostnames: []string{"a", "b"}}}
	expected := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"10.1.0.2\tone.peers.shop.svc.mesh\tone\nfd00::2\tone.peers.shop.svc.mesh\tone\n10.0.0.1\ta\tb\n"
	if found := Hosts(p, "mesh"); found != expected {
		t.Errorf("%s\nexpected\n%s", found, expected)
	}
}

func TestCommandAndArgsReplaceWhatTheImageSays(t *testing.T) {
	image := &config.Image{Name: "i", Binary: "/b", At: "/bin/i", Args: []string{"serve"}}
	env := &Environment{}
	env.Set("P", "80")
	for _, test := range []struct{ command, args, expected []string }{
		{nil, nil, []string{"/bin/i", "serve"}},
		{nil, []string{"-p", "$(P)"}, []string{"/bin/i", "-p", "80"}},
		{[]string{"sh"}, nil, []string{"sh"}},
		{[]string{"sh"}, []string{"-c", "$(Q)"}, []string{"sh", "-c", "$(Q)"}},
	} {
		found, err := Command(image, &v1.Container{Command: test.command, Args: test.args}, env)
		if err != nil || !slices.Equal(found, test.expected) {
			t.Errorf("%q, %v, expected %q", found, err, test.expected)
		}
	}
	if _, err := Command(&config.Image{}, &v1.Container{}, env); err == nil {
		t.Error("an image without a program started one")
	}
}

func TestUserAndPowerAreTheNearestSaid(t *testing.T) {
	uid, zero, yes, no := int64(1337), int64(0), true, false
	p := pod(&v1.Container{})
	p.Spec.SecurityContext = &v1.PodSecurityContext{RunAsUser: &uid, RunAsNonRoot: &yes, FSGroup: &uid}
	user, err := User(p, &v1.Container{}, &config.Image{Group: 5})
	if err != nil || user.UID != 1337 || user.GID != 5 || !slices.Equal(user.Groups, []uint32{1337}) {
		t.Errorf("%+v, %v", user, err)
	}
	root := &v1.Container{SecurityContext: &v1.SecurityContext{RunAsUser: &zero}}
	if _, err := User(p, root, &config.Image{}); err == nil {
		t.Error("root although it must not be")
	}
	spec := &box.Spec{}
	Power(&v1.Container{SecurityContext: &v1.SecurityContext{
		AllowPrivilegeEscalation: &no,
		Capabilities:             &v1.Capabilities{Drop: []v1.Capability{"ALL"}, Add: []v1.Capability{"NET_ADMIN", "CAP_NET_RAW"}},
	}}, spec)
	if !slices.Equal(spec.Capabilities, []string{"NET_ADMIN", "NET_RAW"}) || !spec.NoNewPrivs {
		t.Errorf("%+v", spec)
	}
}

// objects are a ConfigMap `settings` and a Secret `keys`.
type objects struct{}

func (objects) ConfigMap(_, name string) (*v1.ConfigMap, error) {
	if name != "settings" {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name)
	}
	return &v1.ConfigMap{Data: map[string]string{"port": "80", "a=b": "no"}}, nil
}

func (objects) Secret(_, name string) (*v1.Secret, error) {
	if name != "keys" {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
	}
	return &v1.Secret{Data: map[string][]byte{"token": []byte("s3cret")}}, nil
}

func pod(c *v1.Container) *v1.Pod {
	c.Resources.Limits = v1.ResourceList{"cpu": resource.MustParse("1500m")}
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "cart-0", Namespace: "shop", UID: "u", Labels: map[string]string{"app": "cart", "z": `a "b"`}},
		Spec:       v1.PodSpec{Containers: []v1.Container{*c}, ServiceAccountName: "cart"},
		Status: v1.PodStatus{
			PodIP: "10.1.0.2", HostIP: "10.9.0.1",
			PodIPs: []v1.PodIP{{IP: "10.1.0.2"}, {IP: "fd00::2"}},
		},
	}
}

func named(name string) v1.LocalObjectReference { return v1.LocalObjectReference{Name: name} }

func field(path string) *v1.EnvVarSource {
	return &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{FieldPath: path}}
}
