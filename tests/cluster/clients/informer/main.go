// What Go programs do with an API server: a typed client, a dynamic client, shared informers over whole objects and
// over metadata alone, and leader election. It runs against the kubeconfig it is given, and says "ok" or what went
// wrong.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

const namespace = "informer"

var machines = schema.GroupVersionResource{
	Group: "virtualization.deckhouse.io", Version: "v1alpha2", Resource: "virtualmachines",
}

// events carries "kind of event/kind of informer/name", so that a test can wait for one of them.
type events chan string

func (e events) handler(informer string) cache.ResourceEventHandlerFuncs {
	tell := func(event string, obj any) {
		if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = last.Obj
		}
		e <- event + "/" + informer + "/" + obj.(metav1.Object).GetName()
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { tell("add", obj) },
		UpdateFunc: func(_, obj any) { tell("update", obj) },
		DeleteFunc: func(obj any) { tell("delete", obj) },
	}
}

func (e events) await(ctx context.Context, wanted ...string) error {
	missing := map[string]bool{}
	for _, one := range wanted {
		missing[one] = true
	}
	for len(missing) > 0 {
		select {
		case event := <-e:
			delete(missing, event)
		case <-ctx.Done():
			return fmt.Errorf("no %v: %w", missing, ctx.Err())
		}
	}
	return nil
}

func machine(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "virtualization.deckhouse.io/v1alpha2",
		"kind":       "VirtualMachine",
		"metadata":   map[string]any{"name": name, "labels": map[string]any{"app": "web"}},
		"spec": map[string]any{
			"virtualMachineClassName": "generic",
			"cpu":                     map[string]any{"cores": int64(1)},
			"memory":                  map[string]any{"size": "512Mi"},
			"blockDeviceRefs":         []any{map[string]any{"kind": "VirtualDisk", "name": name}},
		},
	}}
}

type clients struct {
	typed   kubernetes.Interface
	dynamic dynamic.Interface
	meta    metadata.Interface
}

func connect(config *rest.Config) (c clients, err error) {
	// As controllers have it: core kinds in protobuf where the server has them so.
	core := rest.CopyConfig(config)
	core.ContentType = "application/vnd.kubernetes.protobuf"
	core.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	if c.typed, err = kubernetes.NewForConfig(core); err != nil {
		return
	}
	if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return
	}
	c.meta, err = metadata.NewForConfig(config)
	return
}

func follow(ctx context.Context, c clients) (events, error) {
	seen := make(events, 1000)
	whole := dynamicinformer.NewFilteredDynamicSharedInformerFactory(c.dynamic, 0, namespace, nil)
	onlyMeta := metadatainformer.NewFilteredSharedInformerFactory(c.meta, 0, namespace, nil)
	typed := informers.NewSharedInformerFactoryWithOptions(c.typed, 0, informers.WithNamespace(namespace))
	all := map[string]cache.SharedIndexInformer{
		"whole": whole.ForResource(machines).Informer(),
		"meta":  onlyMeta.ForResource(machines).Informer(),
		"typed": typed.Core().V1().ConfigMaps().Informer(),
	}
	for name, informer := range all {
		if _, err := informer.AddEventHandler(seen.handler(name)); err != nil {
			return nil, err
		}
		go informer.RunWithContext(ctx)
	}
	for name, informer := range all {
		if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			return nil, fmt.Errorf("the informer %q does not sync", name)
		}
	}
	return seen, nil
}

func typedClient(ctx context.Context, c clients, seen events) error {
	maps := c.typed.CoreV1().ConfigMaps(namespace)
	made, err := maps.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "c-"}, Data: map[string]string{"k": "v"},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	stale := made.DeepCopy()
	made.Data["k"] = "w"
	if made, err = maps.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if _, err = maps.Update(ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		return fmt.Errorf("a stale update is no conflict: %v", err)
	}
	other := types.UID("other")
	wrong := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &other}}
	if err = maps.Delete(ctx, made.Name, wrong); !apierrors.IsConflict(err) {
		return fmt.Errorf("another object's uid is no conflict: %v", err)
	}
	if err = maps.Delete(ctx, made.Name, *metav1.NewPreconditionDeleteOptions(string(made.UID))); err != nil {
		return err
	}
	if _, err = maps.Get(ctx, made.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("what was deleted is not gone: %v", err)
	}
	return seen.await(ctx, "add/typed/"+made.Name, "update/typed/"+made.Name, "delete/typed/"+made.Name)
}

func dynamicClient(ctx context.Context, c clients, seen events) error {
	vms := c.dynamic.Resource(machines).Namespace(namespace)
	for _, name := range []string{"a", "b", "c"} {
		if _, err := vms.Create(ctx, machine(name), metav1.CreateOptions{FieldValidation: "Strict"}); err != nil {
			return err
		}
	}
	patch := []byte(`{"metadata":{"annotations":{"seen":"yes"}}}`)
	if _, err := vms.Patch(ctx, "b", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	page, err := vms.List(ctx, metav1.ListOptions{Limit: 2, LabelSelector: "app in (web),!gone"})
	if err != nil || len(page.Items) != 2 || page.GetContinue() == "" {
		return fmt.Errorf("the first page has %v: %v", page, err)
	}
	rest, err := vms.List(ctx, metav1.ListOptions{Limit: 2, LabelSelector: "app in (web),!gone", Continue: page.GetContinue()})
	if err != nil || len(rest.Items) != 1 {
		return fmt.Errorf("the second page has %v: %v", rest, err)
	}
	status := rest.Items[0].DeepCopy()
	if err = unstructured.SetNestedField(status.Object, "Pending", "status", "phase"); err != nil {
		return err
	}
	if _, err = vms.UpdateStatus(ctx, status, metav1.UpdateOptions{}); err != nil {
		return err
	}
	background := metav1.DeletePropagationBackground
	err = vms.DeleteCollection(ctx, metav1.DeleteOptions{PropagationPolicy: &background},
		metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		return err
	}
	var wanted []string
	for _, informer := range []string{"whole", "meta"} {
		wanted = append(wanted, "add/"+informer+"/a", "update/"+informer+"/b", "update/"+informer+"/c", "delete/"+informer+"/c")
	}
	if err = seen.await(ctx, wanted...); err != nil {
		return err
	}
	left, err := c.meta.Resource(machines).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil || len(left.Items) != 0 {
		return fmt.Errorf("%d machines are left: %v", len(left.Items), err)
	}
	return nil
}

func lead(ctx context.Context, c clients) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	led := make(chan string, 2)
	elect := func(ctx context.Context, name string) {
		lock := &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Name: "leader", Namespace: namespace},
			Client:     c.typed.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: name},
		}
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: lock, ReleaseOnCancel: true, LeaseDuration: 4 * time.Second, RenewDeadline: 3 * time.Second,
			RetryPeriod: 200 * time.Millisecond,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { led <- name }, OnStoppedLeading: func() {},
			},
		})
	}
	first, resign := context.WithCancel(ctx)
	defer resign()
	go elect(first, "first")
	if name := <-led; name != "first" {
		return fmt.Errorf("%q leads", name)
	}
	go elect(ctx, "second")
	select {
	case name := <-led:
		return fmt.Errorf("%q leads beside the first", name)
	case <-time.After(time.Second):
	}
	resign()
	select {
	case name := <-led:
		if name != "second" {
			return fmt.Errorf("%q leads after the first", name)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("nobody leads after the first: %w", ctx.Err())
	}
}

func run(kubeconfig string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	c, err := connect(config)
	if err != nil {
		return err
	}
	home := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err = c.typed.CoreV1().Namespaces().Create(ctx, home, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	seen, err := follow(ctx, c)
	if err != nil {
		return err
	}
	for name, check := range map[string]func() error{
		"typed client":    func() error { return typedClient(ctx, c, seen) },
		"dynamic client":  func() error { return dynamicClient(ctx, c, seen) },
		"leader election": func() error { return lead(ctx, c) },
	} {
		if err := check(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ok")
}
