package children

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/server/config"
)

// drainTimeout is how long a pod that is told to stop goes on with what it has begun.
const drainTimeout = 30 * time.Second

// Config is the registry's configuration: the type that the server itself reads.
func Config(r *v1alpha1.PackRegistry) config.Config {
	c := config.Config{
		Version: config.Version,
		Log:     config.Log{Level: r.Spec.Log.Level, Formatter: r.Spec.Log.Format},
		HTTP: config.HTTP{
			Addr:         fmt.Sprintf(":%d", PortServe),
			DrainTimeout: config.Duration(drainTimeout),
			Debug: config.Debug{
				Addr:       fmt.Sprintf(":%d", PortDebug),
				Prometheus: config.Prometheus{Enabled: true},
			},
		},
	}
	if c.Log.Formatter == "" {
		c.Log.Formatter = "json"
	}
	for name, value := range r.Spec.Log.Fields {
		if c.Log.Fields == nil {
			c.Log.Fields = map[string]any{}
		}
		c.Log.Fields[name] = value
	}
	switch s := r.Spec.Storage; {
	case s.PersistentVolumeClaim != nil:
		c.Storage.Filesystem = &config.Filesystem{RootDirectory: dataDir + "/registry"}
	case s.InMemory != nil:
		c.Storage.InMemory = &config.InMemory{}
	}
	if len(r.Spec.Auth.SecretRefs) > 0 {
		c.Auth = &config.Auth{HTPasswd: &config.HTPasswd{Realm: r.Spec.Auth.Realm, Path: usersDir + "/" + UsersKey}}
	}
	for name, values := range r.Spec.Headers {
		if c.HTTP.Headers == nil {
			c.HTTP.Headers = config.Headers{}
		}
		c.HTTP.Headers[name] = config.StringList(append([]string{}, values...))
	}
	if ServesTLS(r) {
		c.HTTP.TLS = &config.TLS{
			Certificate: certificateDir + "/" + corev1.TLSCertKey,
			Key:         certificateDir + "/" + corev1.TLSPrivateKeyKey,
		}
		if v := r.Spec.TLS.MinimumVersion; v != "" {
			c.HTTP.TLS.MinimumTLS = "tls" + string(v)
		}
	}
	return c
}

// RenderedConfig is the configuration as it goes into a Secret.
type RenderedConfig struct {
	// Name of the Secret, which follows from its content: another configuration is another Secret, and a Deployment that
	// names it rolls.
	Name string
	// Hash is the part of the name that stands for the content.
	Hash string
	Data []byte
}

// RenderConfig renders the configuration.
func RenderConfig(r *v1alpha1.PackRegistry) (RenderedConfig, error) {
	data, err := config.Marshal(Config(r))
	if err != nil {
		return RenderedConfig{}, fmt.Errorf("render the configuration: %w", err)
	}
	h := hash(data)
	return RenderedConfig{Name: r.Name + "-config-" + h, Hash: h, Data: data}, nil
}

// ConfigSecret holds the configuration. It never changes.
func ConfigSecret(r *v1alpha1.PackRegistry, c RenderedConfig) *corev1apply.SecretApplyConfiguration {
	labels := Labels(r)
	labels[LabelConfig] = c.Hash
	return corev1apply.Secret(c.Name, r.Namespace).
		WithLabels(labels).WithOwnerReferences(owner(r)).
		WithType(corev1.SecretTypeOpaque).WithImmutable(true).
		WithData(map[string][]byte{configKey: c.Data})
}

// UsersSecret holds the merged users. It is the operator's own, so that users of the past stay when a source is deleted
// or broken.
func UsersSecret(r *v1alpha1.PackRegistry, htpasswd []byte) *corev1apply.SecretApplyConfiguration {
	return corev1apply.Secret(UsersName(r), r.Namespace).
		WithLabels(Labels(r)).WithOwnerReferences(owner(r)).
		WithType(corev1.SecretTypeOpaque).
		WithData(map[string][]byte{UsersKey: htpasswd})
}
