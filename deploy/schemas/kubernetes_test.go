package schemas

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"example.com/msauth/deploy/internal/material"
)

// kinds are those of the recipe, by apiVersion and kind.
var kinds = map[string]func() any{
	"v1 Namespace":                                  func() any { return new(corev1.Namespace) },
	"v1 ServiceAccount":                             func() any { return new(corev1.ServiceAccount) },
	"v1 ConfigMap":                                  func() any { return new(corev1.ConfigMap) },
	"v1 Secret":                                     func() any { return new(corev1.Secret) },
	"v1 Service":                                    func() any { return new(corev1.Service) },
	"apps/v1 Deployment":                            func() any { return new(appsv1.Deployment) },
	"batch/v1 CronJob":                              func() any { return new(batchv1.CronJob) },
	"networking.k8s.io/v1 Ingress":                  func() any { return new(networkingv1.Ingress) },
	"networking.k8s.io/v1 NetworkPolicy":            func() any { return new(networkingv1.NetworkPolicy) },
	"policy/v1 PodDisruptionBudget":                 func() any { return new(policyv1.PodDisruptionBudget) },
	"rbac.authorization.k8s.io/v1 Role":             func() any { return new(rbacv1.Role) },
	"rbac.authorization.k8s.io/v1 RoleBinding":      func() any { return new(rbacv1.RoleBinding) },
	"kustomize.config.k8s.io/v1beta1 Kustomization": func() any { return new(types.Kustomization) },
}

// decode reads one object, and accepts no field that Kubernetes does not know.
func decode(text []byte) (any, error) {
	var head struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(text, &head); err != nil {
		return nil, err
	}
	make, ok := kinds[head.APIVersion+" "+head.Kind]
	if !ok {
		return nil, fmt.Errorf("unknown kind %s %s", head.APIVersion, head.Kind)
	}
	object := make()
	return object, yaml.UnmarshalStrict(text, object)
}

// objects are what "kubectl apply -k" would apply.
func objects(t *testing.T) (all []any) {
	t.Helper()
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(root, "deploy/kubernetes"))
	if err != nil {
		t.Fatal(err)
	}
	for _, resource := range made.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		object, err := decode(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		all = append(all, object)
	}
	return all
}

func only[T any](all []any) (of []*T) {
	for _, object := range all {
		if o, ok := object.(*T); ok {
			of = append(of, o)
		}
	}
	return of
}

func named[T any](t *testing.T, all []any, name string, nameOf func(*T) string) *T {
	t.Helper()
	for _, o := range only[T](all) {
		if nameOf(o) == name {
			return o
		}
	}
	t.Fatalf("there is no %T %q", *new(T), name)
	return nil
}

// Every field of every file is one that Kubernetes knows, and every file is applied.
func TestKubernetesFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(root, "deploy/kubernetes/*.yaml"))
	if err != nil || len(files) < 8 {
		t.Fatalf("%q, %v", files, err)
	}
	kustomization := read(t, "deploy/kubernetes/kustomization.yaml")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, document := range strings.Split(string(text), "\n---\n") {
			if _, err := decode([]byte(document)); err != nil {
				t.Errorf("%s, object %d: %v", file, i+1, err)
			}
		}
		if base := filepath.Base(file); base != "kustomization.yaml" && !strings.Contains(kustomization, "\n  - "+base+"\n") {
			t.Errorf("%s is not applied", base)
		}
	}
	if _, err := decode([]byte("apiVersion: v1\nkind: Service\nspec: {port: []}")); err == nil {
		t.Error("a field that does not exist is accepted")
	}
	for _, object := range objects(t) {
		if secret, ok := object.(*corev1.Secret); ok {
			t.Errorf("the Secret %s is applied: a second time this would undo a change of keys", secret.Name)
		}
	}
}

// pods are all that run.
func pods(t *testing.T, all []any) map[string]corev1.PodTemplateSpec {
	t.Helper()
	of := map[string]corev1.PodTemplateSpec{}
	for _, d := range only[appsv1.Deployment](all) {
		of[d.Name] = d.Spec.Template
		for key, value := range d.Spec.Selector.MatchLabels {
			if d.Spec.Template.Labels[key] != value {
				t.Errorf("%s does not select its own pods", d.Name)
			}
		}
	}
	for _, j := range only[batchv1.CronJob](all) {
		of[j.Name] = j.Spec.JobTemplate.Spec.Template
	}
	return of
}

// secretsOfTheGuide are the Secrets that docs/deploy.md makes, and their entries.
func secretsOfTheGuide(t *testing.T) map[string][]string {
	t.Helper()
	secrets := map[string][]string{}
	text := strings.ReplaceAll(read(t, "docs/deploy.md"), "\\\n", " ")
	for _, m := range regexp.MustCompile(`(?m)kubectl -n msauth create secret (generic|tls) (\S+)(.*)$`).FindAllStringSubmatch(text, -1) {
		secrets[m[2]] = nil
		for _, entry := range regexp.MustCompile(`--from-file=([^=\s]+)=(\S+)`).FindAllStringSubmatch(m[3], -1) {
			secrets[m[2]] = append(secrets[m[2]], entry[1])
		}
	}
	return secrets
}

// Whatever one object names is there: accounts, Secrets and their entries, ConfigMaps,
// ports and selectors; and nothing runs with more rights than it needs.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	all := objects(t)
	running := pods(t, all)
	secrets := secretsOfTheGuide(t)
	namespace := only[corev1.Namespace](all)[0]
	if namespace.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Error("the namespace admits any pod")
	}
	configs := map[string]*corev1.ConfigMap{}
	for _, c := range only[corev1.ConfigMap](all) {
		configs[c.Name] = c
	}
	for name, pod := range running {
		spec := pod.Spec
		account := named(t, all, spec.ServiceAccountName, func(a *corev1.ServiceAccount) string { return a.Name })
		if account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken {
			t.Errorf("%s: every pod of the account %s gets a token", name, account.Name)
		}
		if asks := *spec.AutomountServiceAccountToken; asks != (name == "rotatekeys") {
			t.Errorf("%s gets a token of Kubernetes: %t", name, asks)
		}
		if sc := spec.SecurityContext; !*sc.RunAsNonRoot || *sc.RunAsUser == 0 || sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: %+v", name, sc)
		}
		volumes := map[string]bool{}
		for _, v := range spec.Volumes {
			volumes[v.Name] = true
			switch {
			case v.Secret != nil:
				entries, ok := secrets[v.Secret.SecretName]
				if !ok {
					t.Errorf("%s: docs/deploy.md does not make the Secret %s", name, v.Secret.SecretName)
				}
				for _, item := range v.Secret.Items {
					if !slices.Contains(entries, item.Key) {
						t.Errorf("%s: the Secret %s has no entry %s: %q", name, v.Secret.SecretName, item.Key, entries)
					}
				}
				if group := spec.SecurityContext.FSGroup; *v.Secret.DefaultMode&0o007 != 0 || group == nil || *group != *spec.SecurityContext.RunAsGroup {
					t.Errorf("%s: the files of %s have mode %o", name, v.Name, *v.Secret.DefaultMode)
				}
			case v.ConfigMap != nil && configs[v.ConfigMap.Name] == nil:
				t.Errorf("%s: there is no ConfigMap %s", name, v.ConfigMap.Name)
			}
		}
		for _, c := range spec.Containers {
			if sc := c.SecurityContext; *sc.AllowPrivilegeEscalation || !*sc.ReadOnlyRootFilesystem || !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) {
				t.Errorf("%s: %+v", name, sc)
			}
			if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
				t.Errorf("%s: %+v", name, c.Resources)
			}
			for _, m := range c.VolumeMounts {
				if !volumes[m.Name] || m.SubPath != "" || !m.ReadOnly && m.MountPath != "/tmp" {
					t.Errorf("%s: mount %+v", name, m)
				}
				delete(volumes, m.Name)
			}
			for _, from := range c.EnvFrom {
				if from.SecretRef != nil || configs[from.ConfigMapRef.Name] == nil {
					t.Errorf("%s: environment from %+v", name, from)
				}
			}
			for _, e := range c.Env {
				if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
					t.Errorf("%s: %s is a secret in the environment", name, e.Name)
				}
			}
			ports := map[string]bool{}
			for _, p := range c.Ports {
				ports[p.Name] = true
			}
			for _, probe := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
				switch {
				case probe == nil:
				case probe.HTTPGet != nil && !ports[probe.HTTPGet.Port.StrVal], probe.TCPSocket != nil && !ports[probe.TCPSocket.Port.StrVal]:
					t.Errorf("%s: no port for %+v", name, probe)
				}
			}
		}
		if len(volumes) > 0 {
			t.Errorf("%s: volumes that nobody mounts: %v", name, volumes)
		}
	}
	for _, s := range only[corev1.Service](all) {
		pod := selected(t, running, "service "+s.Name, s.Spec.Selector)
		for _, p := range s.Spec.Ports {
			if !hasPort(pod, p.TargetPort.StrVal) {
				t.Errorf("service %s: its pods have no port %s", s.Name, p.TargetPort.StrVal)
			}
		}
	}
	for _, b := range only[policyv1.PodDisruptionBudget](all) {
		selected(t, running, "budget "+b.Name, b.Spec.Selector.MatchLabels)
	}
	for _, p := range only[networkingv1.NetworkPolicy](all) {
		pod := selected(t, running, "policy "+p.Name, p.Spec.PodSelector.MatchLabels)
		for _, in := range p.Spec.Ingress {
			for _, port := range in.Ports {
				if !hasPort(pod, port.Port.StrVal) {
					t.Errorf("policy %s: its pods have no port %v", p.Name, port.Port)
				}
			}
			for _, from := range in.From {
				selected(t, running, "policy "+p.Name, from.PodSelector.MatchLabels)
			}
		}
	}
	for _, i := range only[networkingv1.Ingress](all) {
		for _, tls := range i.Spec.TLS {
			if _, ok := secrets[tls.SecretName]; !ok {
				t.Errorf("docs/deploy.md does not make the Secret %s", tls.SecretName)
			}
		}
		for _, rule := range i.Spec.Rules {
			for _, path := range rule.HTTP.Paths {
				to := path.Backend.Service
				service := named(t, all, to.Name, func(s *corev1.Service) string { return s.Name })
				if !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == to.Port.Name }) {
					t.Errorf("service %s has no port %s", to.Name, to.Port.Name)
				}
			}
			if !strings.HasPrefix(configs["app"].Data["MSAUTH_BASE_URL"], "https://"+rule.Host+"/") {
				t.Errorf("the site is %s, and the host %s", configs["app"].Data["MSAUTH_BASE_URL"], rule.Host)
			}
		}
	}
}

func hasPort(pod corev1.PodTemplateSpec, name string) bool {
	return slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == name })
	})
}

// selected returns the pods that have the labels.
func selected(t *testing.T, running map[string]corev1.PodTemplateSpec, who string, labels map[string]string) (found corev1.PodTemplateSpec) {
	t.Helper()
	n := 0
	for _, pod := range running {
		fits := len(labels) > 0
		for key, value := range labels {
			fits = fits && pod.Labels[key] == value
		}
		if fits {
			found = pod
			n++
		}
	}
	if n != 1 {
		t.Errorf("%s selects %d kinds of pods by %v", who, n, labels)
	}
	return found
}

// The probes ask what the documentation of Ready says they should, and nothing that fails
// with Microsoft stops or restarts a pod that has started. A pod has the time that its
// program takes to end.
func TestProbes(t *testing.T) {
	t.Parallel()
	all := objects(t)
	app := named(t, all, "app", func(d *appsv1.Deployment) string { return d.Name })
	spec := app.Spec.Template.Spec
	c := spec.Containers[0]
	for _, tt := range []struct {
		probe *corev1.Probe
		path  string
	}{{c.StartupProbe, "/startupz"}, {c.LivenessProbe, "/healthz"}, {c.ReadinessProbe, "/readyz"}} {
		if tt.probe.HTTPGet.Path != tt.path {
			t.Errorf("%q, want %s", tt.probe.HTTPGet.Path, tt.path)
		}
	}
	config := named(t, all, "app", func(c *corev1.ConfigMap) string { return c.Name }).Data
	delay := duration(t, config["SHUTDOWN_DELAY"])
	if grace := time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second; grace < delay+requestTime+closeTime+5*time.Second {
		t.Errorf("a pod has %v to end", grace)
	}
	if noticed := time.Duration(c.ReadinessProbe.PeriodSeconds*c.ReadinessProbe.FailureThreshold) * time.Second; delay < noticed+2*time.Second {
		t.Errorf("a pod refuses connections %v after SIGTERM, and is known not to be ready after %v", delay, noticed)
	}
	if *app.Spec.Replicas != 3 || app.Spec.Strategy.RollingUpdate.MaxUnavailable.IntVal != 0 {
		t.Errorf("%d pods, %v of which may be missing", *app.Spec.Replicas, app.Spec.Strategy.RollingUpdate.MaxUnavailable)
	}
	// The webhook of workload identity adds these to the container, and skips what is
	// there already.
	if app.Spec.Template.Labels["azure.workload.identity/use"] != "true" {
		t.Error("the pods have no workload identity")
	}
	account := named(t, all, spec.ServiceAccountName, func(a *corev1.ServiceAccount) string { return a.Name })
	for _, name := range []string{"azure.workload.identity/client-id", "azure.workload.identity/tenant-id"} {
		if account.Annotations[name] == "" {
			t.Errorf("the account has no %s", name)
		}
	}
	for _, e := range c.Env {
		if strings.HasPrefix(e.Name, "AZURE_") {
			t.Errorf("%s is set by hand", e.Name)
		}
	}
	for name := range config {
		if strings.HasPrefix(name, "AZURE_") {
			t.Errorf("%s in the ConfigMap has no effect", name)
		}
	}
	for variable, mount := range map[string]string{"MSAUTH_KEY_FILES": "/run/keys/keys", "REDIS_PASSWORD_FILE": "/run/redis/password"} {
		if config[variable] != mount || !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == filepath.Dir(mount) }) {
			t.Errorf("%s is %q", variable, config[variable])
		}
	}
}

// The job that changes keys has the right to two verbs on one Secret, and its flags are
// those of the command.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	all := objects(t)
	job := named(t, all, "rotatekeys", func(j *batchv1.CronJob) string { return j.Name })
	role := named(t, all, "rotatekeys", func(r *rbacv1.Role) string { return r.Name })
	binding := named(t, all, "rotatekeys", func(b *rbacv1.RoleBinding) string { return b.Name })
	args := job.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Args
	secret := args[slices.Index(args, "-secret")+1]
	if want := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{secret}, Verbs: []string{"get", "patch"}}}; fmt.Sprint(role.Rules) != fmt.Sprint(want) {
		t.Errorf("%v", role.Rules)
	}
	if len(binding.Subjects) != 1 || binding.Subjects[0].Name != job.Spec.JobTemplate.Spec.Template.Spec.ServiceAccountName || binding.RoleRef.Name != role.Name ||
		binding.Subjects[0].Namespace != "msauth" {
		t.Errorf("%+v", binding)
	}
	if n := len(only[rbacv1.Role](all)); n != 1 {
		t.Errorf("%d roles", n)
	}
	if job.Spec.ConcurrencyPolicy != batchv1.ForbidConcurrent {
		t.Error("two may run at a time")
	}
	// A step a night. An old key opens for longer than any session lasts, by default, and
	// a new one waits until every pod has it.
	if !regexp.MustCompile(`^\d+ \d+ \* \* \*$`).MatchString(job.Spec.Schedule) {
		t.Errorf("it runs at %q", job.Spec.Schedule)
	}
	of := func(name string) time.Duration { return duration(t, args[slices.Index(args, name)+1]) }
	if keep, maxAge := of("-keep"), 7*24*time.Hour; keep < maxAge+24*time.Hour {
		t.Errorf("an old key opens for %v, and sessions last %v", keep, maxAge)
	}
	if wait := of("-wait"); wait < 12*time.Hour || wait > 23*time.Hour {
		t.Errorf("a new key waits for %v, and the next run comes in a day", wait)
	}
	// It says that there is no Kubernetes here: whatever is before that is right.
	if out, err := contained(t, "rotatekeys", nil, nil, args...).CombinedOutput(); err == nil || !strings.Contains(string(out), "this is not a pod") {
		t.Errorf("%v\n%s", err, out)
	}
	app := named(t, all, "app", func(d *appsv1.Deployment) string { return d.Name })
	if app.Spec.Template.Spec.Volumes[0].Secret.SecretName != secret {
		t.Errorf("the job changes %s, which the app does not read", secret)
	}
}

// Redis hears the app and nobody else, and says nothing by itself. Nothing connects to
// the job. To those who look, an empty list means "nobody", and a missing type "anybody".
func TestNetworkPolicies(t *testing.T) {
	t.Parallel()
	all := objects(t)
	ingress, egress := networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress
	redis := named(t, all, "redis", func(p *networkingv1.NetworkPolicy) string { return p.Name }).Spec
	if !slices.Contains(redis.PolicyTypes, ingress) || !slices.Contains(redis.PolicyTypes, egress) || len(redis.Egress) != 0 {
		t.Errorf("redis: %v, to %v", redis.PolicyTypes, redis.Egress)
	}
	if len(redis.Ingress) != 1 || len(redis.Ingress[0].From) != 1 || len(redis.Ingress[0].Ports) != 1 {
		t.Fatalf("redis: %+v", redis.Ingress)
	}
	if from := redis.Ingress[0].From[0]; from.IPBlock != nil || from.NamespaceSelector != nil || from.PodSelector.MatchLabels["app.kubernetes.io/name"] != "app" {
		t.Errorf("redis: from %+v", from)
	}
	job := named(t, all, "rotatekeys", func(p *networkingv1.NetworkPolicy) string { return p.Name }).Spec
	if !slices.Equal(job.PolicyTypes, []networkingv1.PolicyType{ingress}) || len(job.Ingress) != 0 {
		t.Errorf("rotatekeys: %v, from %v", job.PolicyTypes, job.Ingress)
	}
}

// The settings of Redis are the same everywhere.
func TestRedisSettings(t *testing.T) {
	t.Parallel()
	settings := func(text string) (lines []string) {
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
		return lines
	}
	config := named(t, objects(t), "redis", func(c *corev1.ConfigMap) string { return c.Name })
	if got, want := settings(config.Data["redis.conf"]), settings(read(t, "deploy/redis/redis.conf")); !slices.Equal(got, want) || len(want) != 4 {
		t.Errorf("%q in Kubernetes, %q in Compose", got, want)
	}
	// The commands that a server may send are those of redisshared's documentation.
	dir := t.TempDir()
	if _, err := material.Write(dir, "localhost"); err != nil {
		t.Fatal(err)
	}
	acl, err := os.ReadFile(filepath.Join(dir, material.RedisUsers))
	if err != nil {
		t.Fatal(err)
	}
	rules := regexp.MustCompile(`(?s)ACL SETUSER msauth on >PASSWORD (.*?)\n//\n`).FindStringSubmatch(read(t, "redisshared/doc.go"))
	if rules == nil {
		t.Fatal("redisshared's documentation has no ACL")
	}
	want := strings.Join(strings.Fields(strings.ReplaceAll(strings.ReplaceAll(rules[1], "//", ""), "myapp", "msauth")), " ")
	if !strings.Contains(string(acl), want) {
		t.Errorf("the ACL is\n%s\nand redisshared wants\n%s", acl, want)
	}
}
