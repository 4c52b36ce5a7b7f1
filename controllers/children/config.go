package children

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/server/config"
)

// acmeDelay is how long a new pod leaves the cluster to lead its hosts to it.
const acmeDelay = 5 * time.Second

// drainTimeout is how long a pod that is terminating goes on with what it has begun.
const drainTimeout = 30 * time.Second

// ConfigInput is what the configuration depends on besides the spec: contents of Secrets that the spec names.
type ConfigInput struct {
	// S3 is the credential of the bucket, or nil for the pod's own identity.
	S3 *S3Credential
	// S3CA and ACMECA are certificates to trust, in PEM.
	S3CA, ACMECA []byte
}

// S3Credential is what a Secret with AWS_… keys holds.
type S3Credential struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	// Version distinguishes this credential from those before it, without being made of it: it goes into names.
	Version string
}

// Config is the registry's configuration: the type that the server itself reads.
func Config(r *v1alpha1.PackRegistry) config.Config {
	c := config.Config{
		Version: config.Version,
		Log:     config.Log{Level: r.Spec.Log.Level, Formatter: r.Spec.Log.Format},
		Storage: storage(r),
		Auth:    auth(r),
		Packs:   config.Packs{BasePaths: slices.Sorted(slices.Values(r.Spec.Packs.BasePaths))}, // a set: its order must roll no pods
		UI:      config.UI{Enabled: r.Spec.UI.Enabled, Title: r.Spec.UI.Title, Actions: slices.Sorted(slices.Values(r.Spec.UI.Actions))},
		HTTP: config.HTTP{
			Addr:         fmt.Sprintf(":%d", PortServe),
			DrainTimeout: config.Duration(drainTimeout),
			TLS:          tls(r),
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
	for name, values := range r.Spec.Headers {
		if c.HTTP.Headers == nil {
			c.HTTP.Headers = config.Headers{}
		}
		c.HTTP.Headers[name] = config.StringList(append([]string{}, values...))
	}
	return c
}

func storage(r *v1alpha1.PackRegistry) config.Storage {
	var c config.Storage
	switch s := r.Spec.Storage; {
	case s.PersistentVolumeClaim != nil:
		c.Filesystem = &config.Filesystem{RootDirectory: dataDir + "/registry"}
	case s.InMemory != nil:
		c.InMemory = &config.InMemory{}
	case s.S3 != nil:
		c.S3 = &config.S3{
			Region: s.S3.Region, Bucket: s.S3.Bucket, RootDirectory: s.S3.RootDirectory, RegionEndpoint: s.S3.Endpoint,
			Encrypt: s.S3.Encrypt, KeyID: s.S3.KMSKeyID, ForcePathStyle: s.S3.ForcePathStyle, StorageClass: s.S3.StorageClass,
		}
		if s.S3.CARef != nil {
			c.S3.CAFile = configDir + "/" + s3CAKey
		}
	}
	if gc := r.Spec.GarbageCollection; gc != nil {
		if gc.Interval != nil {
			c.Maintenance.GarbageCollection.Interval = config.Duration(gc.Interval.Duration)
		}
		if gc.KeepUntagged != nil {
			c.Maintenance.GarbageCollection.KeepUntagged = config.Duration(gc.KeepUntagged.Duration)
		}
	}
	return c
}

// auth always says something: a configuration without this section would be open to all.
func auth(r *v1alpha1.PackRegistry) *config.Auth {
	spec := r.Spec.Auth
	if len(spec.SecretRefs) == 0 {
		return &config.Auth{Access: config.Access{AnonymousPull: true}}
	}
	return &config.Auth{
		HTPasswd: &config.HTPasswd{Realm: spec.Realm, Path: usersDir + "/" + UsersKey},
		Access:   config.Access{AnonymousPull: spec.AnonymousPull, ReadOnlyUsers: spec.ReadOnlyUsers},
	}
}

func tls(r *v1alpha1.PackRegistry) *config.TLS {
	if !ServesTLS(r) {
		return nil
	}
	c := &config.TLS{}
	if acme := r.Spec.TLS.LetsEncrypt; acme != nil {
		// Certificates lie where the packs do, so that replicas share them and restarts order none.
		c.LetsEncrypt = &config.LetsEncrypt{
			// The Service leads here only when it has seen that the pod is ready.
			Delay: config.Duration(acmeDelay), CacheStorage: true, Email: acme.Email, Hosts: r.Spec.Hosts, DirectoryURL: acme.DirectoryURL,
		}
		if answersHTTP01(r) {
			c.LetsEncrypt.HTTPAddr = fmt.Sprintf(":%d", PortACME)
		}
		if acme.CARef != nil {
			c.LetsEncrypt.CAFile = configDir + "/" + acmeCAKey
		}
	} else {
		c.Certificate, c.Key = certificateDir+"/"+corev1.TLSCertKey, certificateDir+"/"+corev1.TLSPrivateKeyKey
	}
	if v := r.Spec.TLS.MinimumVersion; v != "" {
		c.MinimumTLS = "tls" + string(v)
	}
	if r.Spec.TLS.ClientCARef != nil {
		c.ClientCAs = config.StringList{clientCADir + "/" + CAKey}
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
	// Files are the Secret's keys; config.yml is the configuration itself.
	Files map[string][]byte
}

// RenderConfig renders the configuration, with what spec.config adds to it. An error is for who wrote the spec.
func RenderConfig(r *v1alpha1.PackRegistry, in ConfigInput) (RenderedConfig, error) {
	data, err := overlay(Config(r), r.Spec.Config)
	if err != nil {
		return RenderedConfig{}, err
	}
	files := map[string][]byte{configKey: data}
	named := data // what the name is made of
	add := func(key string, content []byte) {
		if len(content) > 0 {
			files[key] = content
			named = append(append(slices.Clip(named), key...), content...)
		}
	}
	add(s3CAKey, in.S3CA)
	add(acmeCAKey, in.ACMECA)
	if in.S3 != nil {
		files[credentialsKey] = in.S3.file()
		named = append(slices.Clip(named), in.S3.Version...)
	}
	h := hash(named)
	return RenderedConfig{Name: ConfigName(r, h), Hash: h, Files: files}, nil
}

// ConfigName is the name of the Secret with a configuration.
func ConfigName(r *v1alpha1.PackRegistry, hash string) string { return r.Name + "-config-" + hash }

// file is the credential as the AWS SDK reads it from a file.
func (c *S3Credential) file() []byte {
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", c.AccessKeyID, c.SecretAccessKey)
	if c.SessionToken != "" {
		text += fmt.Sprintf("aws_session_token = %s\n", c.SessionToken)
	}
	return []byte(text)
}

// ConfigSecret holds the configuration. It never changes.
func ConfigSecret(r *v1alpha1.PackRegistry, c RenderedConfig) *corev1apply.SecretApplyConfiguration {
	labels := Labels(r)
	labels[LabelConfig] = c.Hash
	return corev1apply.Secret(c.Name, r.Namespace).
		WithLabels(objectLabels(r, labels)).WithAnnotations(objectAnnotations(r)).WithOwnerReferences(owner(r)).
		WithType(corev1.SecretTypeOpaque).WithImmutable(true).
		WithData(c.Files)
}

// UsersSecret holds the merged users. It is the operator's own, so that users of the past stay when a source is deleted
// or broken, and holds them twice, so that they also survive a hand that overwrites them. versions are those of the Secrets
// that lines were made from; the salt keys what stands for the users elsewhere.
func UsersSecret(r *v1alpha1.PackRegistry, htpasswd, salt []byte, versions map[string]string) *corev1apply.SecretApplyConfiguration {
	secret := corev1apply.Secret(UsersName(r), r.Namespace).
		WithLabels(objectLabels(r, Labels(r))).WithAnnotations(objectAnnotations(r)).WithOwnerReferences(owner(r)).
		WithType(corev1.SecretTypeOpaque).
		WithData(map[string][]byte{UsersKey: htpasswd, SaltKey: salt})
	if 2*len(htpasswd)+len(salt) < corev1.MaxSecretSize {
		secret.WithData(map[string][]byte{LastGoodUsersKey: htpasswd})
	}
	if len(versions) > 0 {
		text, err := json.Marshal(versions)
		if err != nil {
			panic(err) // a map of strings can always be written
		}
		secret.WithAnnotations(map[string]string{AnnotationSources: string(text)})
	}
	return secret
}
