package controllers

import (
	"context"
	"crypto/x509"
	"errors"
	"reflect"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// observed is everything that a decision depends on, read once. What does not exist is nil.
type observed struct {
	registry *v1alpha1.PackRegistry
	// operator is this installation, or nil.
	operator *v1alpha1.OperatorReference
	// image is the default image.
	image string
	// defaults are those of pods.
	defaults children.PodDefaults
	now      time.Time

	// sources are the Secrets that the spec names, by name, and ConfigMaps of certificates to trust, by sourceOf.
	sources map[string]*corev1.Secret
	// unread says what could not be read: nothing is decided of it.
	unread struct{ users, tls, claim, conflicting, pods, hosts bool }
	// users is the operator's own Secret of merged users.
	users *corev1.Secret
	// made are lines that were made from basic-auth Secrets.
	made *madeLines
	// owned are other objects that carry the registry's label, of kinds that can be unwanted.
	owned []ownedChild
	// config is the configuration that pods run with, where a Secret's content is part of it.
	config *corev1.Secret
	// configs are the configurations that were rendered so far.
	configs []metav1.PartialObjectMetadata

	// ca and leaf are the Secrets of tls.selfSigned, bundle the ConfigMap that publishes the CA.
	ca, leaf *corev1.Secret
	bundle   *corev1.ConfigMap
	// served is what a pod showed when it was asked for the certificate it has obtained itself; servedErr why it showed none.
	served    *x509.Certificate
	servedErr error

	// release is what this operator renders by default.
	release    string
	deployment *appsv1.Deployment
	// autoscaler is the HorizontalPodAutoscaler that scales the Deployment, or "".
	autoscaler string
	service    *corev1.Service
	metrics    *corev1.Service // names the pods for whoever scrapes them
	ingress    *networkingv1.Ingress
	policy     *networkingv1.NetworkPolicy
	// optional are the objects of kinds that the cluster may lack.
	optional map[schema.GroupKind]optionalState
	// unknown are those of which nothing could be found out now, and why.
	unknown map[schema.GroupKind]error
	// discoveryTTL is after how long they are looked for again.
	discoveryTTL time.Duration
	claim        *corev1.PersistentVolumeClaim
	class        *storagev1.StorageClass
	// classMissing says that the claim waits for a volume of a class that does not exist.
	classMissing bool
	// ingressClassMissing says that the Ingress waits for a controller of a class that does not exist.
	ingressClassMissing bool
	budget              *policyv1.PodDisruptionBudget
	pods                []corev1.Pod
	// space is how full the claim's volume is, or nil where nobody says.
	space *Space
	// unanswered are the questions that a pod was asked, and has not answered yet.
	unanswered map[probeKind]bool
	// refused is what the spec asks for and may not have, refusedHosts which of its hosts.
	refused, refusedHosts []string
	// hostsMayChange says that a namespace lists the hosts, which is not watched.
	hostsMayChange bool
	// conflicting want a host or a claim of this registry.
	conflicting []v1alpha1.PackRegistry
}

// observe reads everything. What an error leaves unread is not known, and the rest is.
func (r *Reconciler) observe(ctx context.Context, registry *v1alpha1.PackRegistry) (*observed, error) {
	o := &observed{registry: registry, operator: r.Installation.reference(), image: r.Image, defaults: r.PodDefaults, release: r.release(), now: r.Now(), made: r.linesMade(registry), sources: map[string]*corev1.Secret{}, unanswered: map[probeKind]bool{}}
	mine := []client.ListOption{client.InNamespace(registry.Namespace), client.MatchingLabels{children.LabelRegistry: registry.Name}}
	limitsErr := r.observeLimits(ctx, o)
	o.unread.hosts = limitsErr != nil
	failed := append(r.observeProtected(ctx, o, mine), limitsErr)
	failed = append(failed, r.observePods(ctx, o, mine)...)
	failed = append(failed,
		read(ctx, r, o, children.ServiceName(registry), &o.service, &corev1.Service{}),
		read(ctx, r, o, children.DisruptionBudgetName(registry), &o.budget, &policyv1.PodDisruptionBudget{}),
		read(ctx, r, o, children.MetricsServiceName(registry), &o.metrics, &corev1.Service{}),
		read(ctx, r, o, children.IngressName(registry), &o.ingress, &networkingv1.Ingress{}),
		read(ctx, r, o, children.NetworkPolicyName(registry), &o.policy, &networkingv1.NetworkPolicy{}))
	var err error
	o.ingressClassMissing, err = r.lacksIngressClass(ctx, o)
	failed = append(failed, err)
	r.observeOptional(ctx, o)
	r.observeServed(o)
	r.observeSpace(o)
	return o, errors.Join(failed...)
}

// observeProtected reads what users, certificates and deletion policies are decided by, and marks those of them that cannot be.
func (r *Reconciler) observeProtected(ctx context.Context, o *observed, mine []client.ListOption) (failed []error) {
	mark := func(err error, unread ...*bool) {
		for _, part := range unread {
			*part = *part || err != nil
		}
		failed = append(failed, err)
	}
	for _, name := range secretNames(o.registry) {
		secret, err := lookup(ctx, r.Client, o.registry, name, &corev1.Secret{})
		mark(err, &o.unread.pods)
		ofUsers := func(ref v1alpha1.AuthSecretRef) bool { return ref.Name == name }
		o.unread.users = o.unread.users || err != nil && slices.ContainsFunc(o.registry.Spec.Auth.SecretRefs, ofUsers)
		if secret != nil {
			o.sources[name] = secret
		}
	}
	mark(r.observeConfigMaps(ctx, o), &o.unread.pods)
	mark(read(ctx, r, o, children.UsersName(o.registry), &o.users, &corev1.Secret{}), &o.unread.users, &o.unread.pods)
	mark(r.observeOwned(ctx, o, mine), &o.unread.tls)
	mark(r.observeCA(ctx, o), &o.unread.tls, &o.unread.pods)
	mark(r.observeClaim(ctx, o), &o.unread.claim)
	var err error
	if o.conflicting, err = r.conflicting(ctx, o.registry); err == nil {
		err = r.dropRefusedHosts(ctx, o.conflicting, o.now)
	}
	mark(err, &o.unread.conflicting)
	return failed
}

// observePods reads the Deployment, its pods, and what they run with.
func (r *Reconciler) observePods(ctx context.Context, o *observed, mine []client.ListOption) (failed []error) {
	failed = append(failed, read(ctx, r, o, children.DeploymentName(o.registry), &o.deployment, &appsv1.Deployment{}))
	if s3 := o.registry.Spec.Storage.S3; s3 != nil && s3.SecretRef != nil && configHash(o.deployment) != "" {
		failed = append(failed, read(ctx, r, o, children.ConfigName(o.registry, configHash(o.deployment)), &o.config, &corev1.Secret{}))
	}
	failed = append(failed, r.observeAutoscaler(ctx, o))
	pods := &corev1.PodList{}
	err := r.List(ctx, pods, mine...)
	o.pods = pods.Items
	return append(failed, err)
}

// read reads one object of the registry's into its field.
func read[T client.Object](ctx context.Context, r *Reconciler, o *observed, name string, field *T, into T) (err error) {
	*field, err = lookup(ctx, r.Client, o.registry, name, into)
	if live := *field; err == nil && !reflect.ValueOf(live).IsNil() {
		r.unchanged.recall(client.ObjectKeyFromObject(o.registry), live)
	}
	return err
}

// observeConfigMaps reads certificates to trust from the API server: the cache holds only the operator's own ConfigMaps.
func (r *Reconciler) observeConfigMaps(ctx context.Context, o *observed) error {
	for _, ref := range caRefs(o.registry) {
		if ref.Kind != v1alpha1.CARefConfigMap {
			continue
		}
		found, err := lookup(ctx, r.APIReader, o.registry, ref.Name, &corev1.ConfigMap{})
		if err != nil {
			return err
		}
		if found != nil {
			o.sources[sourceOf(ref)] = &corev1.Secret{Data: map[string][]byte{children.CAKey: []byte(found.Data[children.CAKey])}}
		}
	}
	return nil
}

// observeCA reads what tls.selfSigned has made so far.
func (r *Reconciler) observeCA(ctx context.Context, o *observed) (err error) {
	name := children.CAName(o.registry)
	if o.registry.Spec.TLS.SelfSigned == nil {
		// One that was given up is read only where there is one.
		if !slices.ContainsFunc(o.owned, func(c ownedChild) bool { return c.kind == "Secret" && c.GetName() == name }) {
			return nil
		}
		o.ca, err = lookup(ctx, r.Client, o.registry, name, &corev1.Secret{})
		return err
	}
	if o.ca, err = lookup(ctx, r.Client, o.registry, name, &corev1.Secret{}); err != nil {
		return err
	}
	if o.bundle, err = lookup(ctx, r.Client, o.registry, name, &corev1.ConfigMap{}); err != nil {
		return err
	}
	o.leaf, err = lookup(ctx, r.Client, o.registry, children.TLSSecret(o.registry), &corev1.Secret{})
	return err
}

// observeClaim reads the claim from the API server where it is a user's: the cache holds only those of the operator.
func (r *Reconciler) observeClaim(ctx context.Context, o *observed) error {
	name := children.ClaimName(o.registry)
	if name == "" {
		return nil
	}
	var reader client.Reader = r.Client
	if o.registry.Spec.Storage.PersistentVolumeClaim.ClaimName != "" {
		reader = r.APIReader
	}
	var err error
	if o.claim, err = lookup(ctx, reader, o.registry, name, &corev1.PersistentVolumeClaim{}); err != nil || o.claim == nil {
		return err
	}
	// The class is asked for only where it matters: whether the claim can grow, and what it waits for.
	pending := o.claim.Status.Phase != corev1.ClaimBound && o.claim.Spec.VolumeName == ""
	if name := o.claim.Spec.StorageClassName; name != nil && *name != "" && (pending || wantsToGrow(o)) {
		o.class = &storagev1.StorageClass{}
		err = r.APIReader.Get(ctx, client.ObjectKey{Name: *name}, o.class)
		if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) { // with rights in namespaces only, nobody knows
			o.classMissing = pending && apierrors.IsNotFound(err)
			o.class, err = nil, nil
		}
	}
	return err
}

// lacksIngressClass says whether the class that the spec names does not exist. It is asked for only while no controller has
// answered: one may also be there without it.
func (r *Reconciler) lacksIngressClass(ctx context.Context, o *observed) (bool, error) {
	spec := o.registry.Spec.Ingress
	if spec == nil || spec.ClassName == nil || o.ingress == nil || len(o.ingress.Status.LoadBalancer.Ingress) > 0 {
		return false, nil
	}
	err := r.APIReader.Get(ctx, client.ObjectKey{Name: *spec.ClassName}, &networkingv1.IngressClass{})
	if apierrors.IsForbidden(err) { // with rights in namespaces only, nobody knows
		err = nil
	}
	return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
}

// wantsToGrow says whether the spec asks for more than the claim's volume has.
func wantsToGrow(o *observed) bool {
	spec := o.registry.Spec.Storage.PersistentVolumeClaim
	if spec == nil || spec.Size == nil || o.claim == nil || o.claim.Status.Phase != corev1.ClaimBound {
		return false
	}
	capacity, ok := o.claim.Status.Capacity[corev1.ResourceStorage]
	return ok && spec.Size.Cmp(capacity) > 0
}

// lookup returns the object of that name, or nil. One of an earlier PackRegistry of the name goes by itself, and says nothing
// about this one.
func lookup[T client.Object](ctx context.Context, reader client.Reader, registry *v1alpha1.PackRegistry, name string, into T) (T, error) {
	var none T
	err := reader.Get(ctx, client.ObjectKey{Namespace: registry.Namespace, Name: name}, into)
	switch {
	case apierrors.IsNotFound(err):
		return none, nil
	case err != nil:
		return none, err
	case ofEarlier(registry, into):
		return none, nil
	}
	return into, nil
}

// configsInUse returns the names of the configurations that a ReplicaSet's pods are made with. ReplicaSets are not
// cached: this is asked only when there is something to delete.
func (r *Reconciler) configsInUse(ctx context.Context, registry *v1alpha1.PackRegistry) (map[string]bool, error) {
	sets := &metav1.PartialObjectMetadataList{}
	sets.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("ReplicaSetList"))
	if err := r.APIReader.List(ctx, sets, client.InNamespace(registry.Namespace),
		client.MatchingLabels{children.LabelRegistry: registry.Name}); err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, s := range sets.Items {
		used[children.ConfigName(registry, s.Labels[children.LabelConfig])] = true
	}
	return used, nil
}

func metadataList(kind string) *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind + "List"))
	return list
}

// secretNames are the Secrets that a spec names. A name that could not be decoded is none.
func secretNames(r *v1alpha1.PackRegistry) []string {
	var names []string
	for _, ref := range r.Spec.Auth.SecretRefs {
		names = append(names, ref.Name)
	}
	if r.Spec.TLS.IssuerRef != nil {
		names = append(names, children.TLSSecret(r)) // cert-manager's to make
	}
	refs := []*v1alpha1.SecretRef{r.Spec.TLS.SecretRef}
	if s3 := r.Spec.Storage.S3; s3 != nil {
		refs = append(refs, s3.SecretRef)
	}
	for _, ref := range refs {
		if ref != nil {
			names = append(names, ref.Name)
		}
	}
	for _, ref := range caRefs(r) {
		if ref.Kind != v1alpha1.CARefConfigMap {
			names = append(names, ref.Name)
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}
